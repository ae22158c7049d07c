# What a fit warns of: cells that were filtered, a fit that went astray, an interrupt.

warn_after_fit <- function(model, interrupted, filtered_cells, batch, call) {
  n_cells <- nrow(model$latent)
  dropped <- sum(!model$trained_cells)
  if (dropped > 0) {
    min_genes <- model$settings$min_genes
    warn_scvae(
      c(
        "{dropped} of {n_cells} cells {cli::qty(dropped)}{?has/have} fewer than \\
         {.arg min_genes} = {min_genes} genes, and the model was not trained on \\
         {cli::qty(dropped)}{?it/them}.",
        i = if (filtered_cells == "NA") {
          "{cli::qty(dropped)}{?Its/Their} embedding is NA."
        } else {
          "{cli::qty(dropped)}{?It is/They are} embedded all the same; \\
           {.code filtered_cells = \"NA\"} would leave {?it/them} out."
        }
      ),
      "filtered"
    )
    if (!is.null(batch)) {
      check_batch_size(batch, kept = model$trained_cells, call = call)
    }
  }
  warn_latent(model)
  warn_diverged(model)
  if (interrupted) {
    # Also when the training was over by then: no Ctrl-C is passed over without a word.
    warn_scvae(
      c(
        "The training was interrupted after {model$epochs} epoch{?s}.",
        i = "The model holds what was learned until then and can be used."
      ),
      "interrupted"
    )
  }
  invisible()
}

# The prior of the latent values is N(0, 1). A value of 20 costs 200 nats of divergence, in one
# dimension of one cell. With the default settings cells stay within 5 of 0; of simulated counts
# fitted without that cost (kl_weight = 0), within 7.
latent_bound <- 20

warn_latent <- function(model) {
  farthest <- max(abs(model$latent), na.rm = TRUE)
  if (farthest > latent_bound && model$stopped != "diverged") {
    warn_scvae(
      c(
        "The embedding reaches {format(farthest, digits = 3)} from 0, but nothing beyond \\
         {latent_bound} is plausible: the fit went astray.",
        i = "Lower {.arg lr}, which is {model$settings$lr}.",
        i = if (model$settings$kl_weight < 1) {
          "Or raise {.arg kl_weight}, which is {model$settings$kl_weight}."
        }
      ),
      "latent"
    )
  }
}

warn_diverged <- function(model, lr = model$settings$lr) {
  if (model$stopped == "diverged") {
    kept <- model$best_epoch %||% model$epochs
    warn_scvae(
      c(
        "The fit diverged: after epoch {model$epochs} the loss was no number any more.",
        i = "The model is that of epoch {kept}. Lower {.arg lr}, which is {lr}."
      ),
      "diverged"
    )
  }
}
