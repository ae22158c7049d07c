# Every mistake gets an error with a class, the argument's name, its value and the cure.

test_that("settings out of range are named with value and cure", {
  x <- sim_small()$counts
  expect_snapshot({
    cat(error_text(fitSCVAE(x, n_hidden = -1)))
    cat(error_text(fitSCVAE(x, n_latent = 2.5)))
    cat(error_text(fitSCVAE(x, max_epochs = 0)))
    cat(error_text(fitSCVAE(x, lr = "fast")))
    cat(error_text(fitSCVAE(x, dropout_rate = 1)))
    cat(error_text(fitSCVAE(x, likelihood = "znb")))
    cat(error_text(fitSCVAE(x, fc_layer = NA)))
    cat(error_text(fitSCVAE(x, verbose = "yes")))
    cat(error_text(fitSCVAE(x, early_stopping = TRUE, train_size = 1)))
    cat(error_text(fitSCVAE(x, connections = 3)))
    cat(error_text(fitSCVAE(x, connections = list(alpha_ini = 0.3))))
    cat(error_text(connectionControl(alpha_init = 0.7)))
    cat(error_text(trainingControl(sampling = "shufle")))
    cat(error_text(fitSCVAE(x, seed = -1)))
  })
})

test_that("every numeric setting is checked", {
  x <- sim_small()$counts
  numeric_settings <- c(
    "min_cells", "min_genes", "n_hidden", "n_latent", "dropout_rate", "max_epochs", "batch_size",
    "train_size", "early_stopping_patience", "check_val_every_n_epoch", "lr", "kl_weight",
    "n_epochs_kl_warmup", "seed", "threads"
  )
  for (name in numeric_settings) {
    for (bad in list(-1, NA_real_, Inf, "a", c(1, 2), list())) {
      args <- c(list(x), stats::setNames(list(bad), name))
      error <- expect_error(do.call(fitSCVAE, args), class = "scvae_error_argument")
      expect_match(cli::ansi_strip(conditionMessage(error)), name, fixed = TRUE)
    }
  }
  for (control in list(connectionControl, trainingControl)) {
    numeric <- setdiff(names(formals(control)), "sampling")
    for (name in numeric) {
      for (bad in list(-1, NaN, "a")) {
        error <- expect_error(
          do.call(control, stats::setNames(list(bad), name)),
          class = "scvae_error_argument"
        )
        expect_match(cli::ansi_strip(conditionMessage(error)), name, fixed = TRUE)
      }
    }
  }
})

test_that("unknown arguments are refused and the nearest is named", {
  x <- sim_small()$counts
  expect_snapshot({
    cat(error_text(fitSCVAE(x, max_epoch = 1)))
    cat(error_text(fitSCVAE(x, epochs = 1)))
    cat(error_text(fitSCVAE(x, bach = 1)))
    cat(error_text(fitSCVAE(x, assay = "RNA")))
    cat(error_text(fitSCVAE(x, NULL, 3)))
    cat(error_text(scScore(x, n_repeat = 1)))
  })
})

test_that("batches are checked", {
  sim <- sim_small()
  x <- sim$counts
  expect_snapshot({
    cat(error_text(fitSCVAE(x, batch = "donor")))
    cat(error_text(fitSCVAE(x, batch = c("a", "b"))))
    cat(error_text(fitSCVAE(x, batch = replace(as.character(sim$batch), 5, NA))))
    cat(error_text(fitSCVAE(x, batch = replace(as.character(sim$batch), 5:6, "odd"))))
    cat(error_text(fitSCVAE(x, batch = list(1, 2))))
  })
})

test_that("a small batch gives a warning", {
  sim <- sim_small()
  batch <- replace(as.character(sim$batch), 1:10, "small")
  expect_warning(quick_fit(sim$counts, batch = batch), class = "scvae_warning_batch")
})

test_that("names must be there and unique", {
  x <- sim_small()$counts
  twice <- x
  colnames(twice)[2] <- colnames(x)[1]
  empty <- x
  rownames(empty)[3] <- ""
  expect_snapshot({
    cat(error_text(fitSCVAE(twice)))
    cat(error_text(fitSCVAE(empty)))
  })
})

test_that("inputs of the wrong kind are refused", {
  expect_snapshot({
    cat(error_text(fitSCVAE(data.frame(a = 1:3))))
    cat(error_text(fitSCVAE(1:10)))
    cat(error_text(fitSCVAE(matrix("a", 3, 3))))
    cat(error_text(fitSCVAE(matrix(1, 1, 5))))
  })
  expect_error(fitSCVAE("no_such_file.h5ad"), class = "scvae_error_file")
})

test_that("values that are no counts are refused with gene and cell", {
  x <- sim_small()$counts
  for (bad in c(0.5, -1, NaN, NA, Inf)) {
    wrong <- x
    wrong@x[100] <- bad
    expect_error(quick_fit(wrong), class = "scvae_error_counts")
    expect_error(quick_fit(as.matrix(wrong)), class = "scvae_error_counts")
  }
})

test_that("counts of which nothing is left are refused", {
  x <- sim_small()$counts
  expect_error(quick_fit(x * 0), class = "scvae_error_counts")
  expect_error(quick_fit(x, min_genes = 400), class = "scvae_error_counts")
  expect_error(quick_fit(x, min_cells = 301), class = "scvae_error_counts")
})

test_that("errors from Rust become conditions, whatever their text", {
  expect_error(
    rust_call(stop("scvae_error_numerical\u001fThe loss of {gene} is NaN.\nTry a smaller lr.")),
    class = "scvae_error_numerical"
  )
  expect_snapshot({
    cat(error_text(rust_call(stop("scvae_error_counts\u001fGene {x} <y>.\nThe cure."))))
    cat(error_text(rust_call(stop("something else"))))
  })
})

test_that("a progress report cannot fail", {
  progress <- new_progress(TRUE, "Training ", fit_progress)
  expect_null(progress$update("nonsense"))
  expect_null(progress$update(list()))
  progress$done()
  expect_null(new_progress(FALSE, "Training ", fit_progress)$update)
})
