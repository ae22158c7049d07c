# The settings of a fit: collected, checked, and handed to Rust as one list.

#' How the sparse connections start and change
#'
#' Every gene is connected with only some of the hidden units. The connections change while the
#' model is trained; their total number does not. See the paper's section on the sparsely
#' connected layer.
#'
#' @param criterion What a gene needs connections for, and so what [scScore()] tells of it: genes
#'   with much of it gain connections, those with little give theirs away.
#'   * `"deviance"`: the Poisson deviance that the fitted rates explain, compared with a rate that
#'     is the same for all cells of a batch. Genes whose pattern over the cells the model knows have
#'     much of it.
#'   * `"mse"`, the paper's: the mean squared error of the expected count. It follows how much a
#'     gene is expressed.
#'   * `"log_mse"`: the same of log(1 + count).
#'   * `"relative_mse"`: the squared error over the variance that the model expects.
#'   * `"dispersion"`: the variance of the fitted rate (`px_scale`) between cells of a batch, over
#'     its mean.
#' @param alpha_init,alpha_min,alpha_max The fraction of the hidden units that a gene is connected
#'   with at the start, at least and at most; each above 0 and at most 1, and in this order:
#'   `alpha_min <= alpha_init <= alpha_max`.
#' @param n_al,n_pl Genes that gain a connection (most by the criterion) and that give one away
#'   (least by it) in one adjustment, at most, as fractions of all genes.
#' @param n_pw Genes that lose a connection of very small weight in one adjustment, at most, as a
#'   fraction of all genes.
#' @param q_w,v_w A weight is very small when it is below this quantile of all weights and below
#'   this value.
#' @param adjust_every Epochs between adjustments; 0: the connections never change.
#' @return A list for the argument `connections` of [fitSCVAE()].
#' @examples
#' connectionControl(alpha_init = 0.3)
#' @export
connectionControl <- function(criterion = c(
                                "deviance", "mse", "log_mse", "relative_mse", "dispersion"
                              ),
                              alpha_init = 0.2, alpha_min = 0.05, alpha_max = 0.5, n_al = 0.06,
                              n_pl = 0.08, n_pw = 0.02, q_w = 0.001, v_w = 1e-5,
                              adjust_every = 1) {
  call <- rlang::current_env()
  fraction <- function(x, name, open = character()) {
    check_number(x, name, min = 0, max = 1, open = open, call = call)
  }
  criteria <- c("deviance", "mse", "log_mse", "relative_mse", "dispersion")
  out <- list(
    criterion = check_choice(criterion, criteria, "criterion", call),
    alpha_init = fraction(alpha_init, "alpha_init", "min"),
    alpha_min = fraction(alpha_min, "alpha_min", "min"),
    alpha_max = fraction(alpha_max, "alpha_max", "min"),
    n_al = fraction(n_al, "n_al"),
    n_pl = fraction(n_pl, "n_pl"),
    n_pw = fraction(n_pw, "n_pw"),
    q_w = fraction(q_w, "q_w"),
    v_w = check_number(v_w, "v_w", min = 0, call = call),
    adjust_every = check_number(adjust_every, "adjust_every", min = 0, whole = TRUE, call = call)
  )
  if (!(out$alpha_min <= out$alpha_init && out$alpha_init <= out$alpha_max)) {
    abort_scvae(
      c(
        "{.arg alpha_init} is {alpha_init}, which is not between {.arg alpha_min}, {alpha_min}, \\
         and {.arg alpha_max}, {alpha_max}.",
        i = "Choose them so that {.code alpha_min <= alpha_init <= alpha_max}."
      ),
      "argument"
    )
  }
  structure(out, class = "scvae_connection_control")
}

#' Details of the training
#'
#' @param eps The optimiser's (Adam's) constant in the denominator.
#' @param weight_decay How strongly the weights that each gene has in the decoder's heads are drawn
#'   to zero; `NULL`: 100 over the number of training cells, which makes the weights the most
#'   probable ones if they were normal around zero with a standard deviation of .1 before the data
#'   were seen. Without decay (0), weights of genes with few counts learn the training cells by
#'   heart. All other parameters decay by 1e-6 as in scvi-tools, or by `weight_decay` if it is less.
#' @param depth_range Each cell's counts are multiplied by a factor drawn from `1 - depth_range` to
#'   `1 + depth_range` before the encoder sees them; 0: never.
#' @param sampling How mini-batches are drawn: `"replacement"`, from every batch in proportion to
#'   its cells; `"balanced"`, the same number from every batch, as in the paper, which draws the
#'   cells of small batches over and over; or `"shuffle"`, every cell once per epoch.
#' @param on_interrupt What Ctrl-C does from the second epoch on: `"return"`, the fit ends, with a
#'   warning, and returns what was learned; `"stop"`, nothing is returned, and a loop around the fit
#'   ends, too.
#' @return A list for the argument `training` of [fitSCVAE()].
#' @examples
#' trainingControl(sampling = "shuffle")
#' @export
trainingControl <- function(eps = 0.01, weight_decay = NULL, depth_range = 0.02,
                            sampling = c("replacement", "balanced", "shuffle"),
                            on_interrupt = c("return", "stop")) {
  call <- rlang::current_env()
  out <- list(
    eps = check_number(eps, "eps", min = 0, open = "min", call = call),
    weight_decay = check_number(weight_decay, "weight_decay", 0, null_ok = TRUE, call = call),
    depth_range = check_number(depth_range, "depth_range", 0, 1, open = "max", call = call),
    sampling = check_choice(sampling, c("replacement", "balanced", "shuffle"), "sampling", call),
    on_interrupt = check_choice(on_interrupt, c("return", "stop"), "on_interrupt", call)
  )
  structure(out, class = "scvae_training_control")
}

#' How batches are told from cells
#'
#' Each cell passes two modules of its batch: one in the encoder takes the batch effect away, one in
#' the decoder brings it back (the paper's batchified modules). Beside them, and before training,
#' the batches' differences are measured gene by gene: they are taken off what the encoder sees,
#' and are where the decoder's offsets per gene and batch start from.
#'
#' With several covariates (donor, chemistry) there is one module and one set of offsets for each,
#' and they add up; what the encoder sees is centred by combination.
#'
#' @param masks Connections `"shared"` by all batches, or `"separate"` ones for each batch, as in
#'   the paper. Separate ones learn nothing from each other. Not with several covariates.
#' @param offsets Measure the batches' differences and use them. FALSE leaves all to the modules, as
#'   in the paper.
#' @param means What the differences are measured with: `"matched"`, pairs of cells that are among
#'   each other's nearest in two batches (Haghverdi et al. 2018), so that a batch may lack kinds of
#'   cells that others have, or hold them in other numbers; or the means of `"all"` cells, which
#'   take a difference in composition for one between the batches. Two batches need kinds in
#'   common: where each has kinds that the other lacks, some of these may be paired with each other.
#' @param beta The weight of the modules; 1 in the paper. With more, batches mix better, and cell
#'   types keep apart less well.
#' @return A list for the argument `batches` of [fitSCVAE()].
#' @references Haghverdi, Lun, Morgan and Marioni (2018), Nature Biotechnology 36:421-427.
#' @examples
#' # As in the paper.
#' batchControl(masks = "separate", offsets = FALSE, beta = 1)
#' @export
batchControl <- function(masks = c("shared", "separate"), offsets = TRUE,
                         means = c("matched", "all"), beta = 0.2) {
  call <- rlang::current_env()
  out <- list(
    masks = check_choice(masks, c("shared", "separate"), "masks", call),
    offsets = check_flag(offsets, "offsets", call),
    means = check_choice(means, c("matched", "all"), "means", call),
    beta = check_number(beta, "beta", min = 0, call = call)
  )
  structure(out, class = "scvae_batch_control")
}

# The arguments of fitSCVAE() that are settings.
setting_names <- function() {
  setdiff(names(formals(fitSCVAE)), c("x", "batch", "...", option_names(), "seed", "verbose"))
}

# Those that say what a fit does besides fitting.
option_names <- function() {
  c("embedding", "filtered_cells", "checkpoint", "checkpoint_every", "n_repeats")
}

# The settings that functions for whole objects show as arguments of their own, with the defaults of
# fitSCVAE(), so that completion, help and Seurat's log of commands have them. The others come by
# `...`.
shown_settings <- c(
  "n_latent", "max_epochs", "n_repeats", "embedding", "likelihood", "n_hidden", "batch_size", "lr",
  "early_stopping", "min_cells", "min_genes", "filtered_cells", "threads", "device"
)

# All settings that a function was given which shows these.
given_settings <- function(..., frame = parent.frame()) {
  c(mget(shown_settings, envir = frame), list(...))
}

# Settings and options, checked, from named arguments; the rest has the defaults of fitSCVAE().
fit_arguments <- function(args, call) {
  own <- option_names()
  is_option <- (names(args) %||% rep("", length(args))) %in% own
  settings <- settings_from(args[!is_option], call, also = own)
  options <- lapply(formals(fitSCVAE)[own], eval, envir = topenv())
  options[names(args)[is_option]] <- args[is_option]
  list(settings = settings, options = do.call(fit_options, c(options, list(call = call))))
}

# The settings from named arguments of any of the package's functions; the rest has the defaults
# of fitSCVAE().
settings_from <- function(args, call, also = character()) {
  known <- setting_names()
  given <- if (length(args)) names(args) %||% rep("", length(args))
  # Those of RunSCVAE(), which an argument that comes here may have been meant for.
  check_known_arguments(given, known, call, also = c("batch", "assay", "layer", "features", also))
  defaults <- lapply(formals(fitSCVAE)[known], eval, envir = topenv())
  defaults[names(args)] <- args
  check_settings(defaults, call)
}

check_settings <- function(s, call) {
  count <- function(name, min, max = .Machine$integer.max, null_ok = FALSE) {
    check_number(s[[name]], name, min, max, whole = TRUE, null_ok = null_ok, call = call)
  }
  out <- list(
    min_cells = count("min_cells", 0),
    min_genes = count("min_genes", 0),
    n_hidden = count("n_hidden", 2, 65536),
    n_latent = count("n_latent", 1, 1024),
    likelihood = check_choice(s$likelihood, c("zinb", "nb", "poisson"), "likelihood", call),
    fc_layer = check_flag(s$fc_layer, "fc_layer", call),
    dropout_rate = check_number(s$dropout_rate, "dropout_rate", 0, 1, open = "max", call = call),
    max_epochs = count("max_epochs", 1, null_ok = TRUE),
    batch_size = count("batch_size", 3),
    train_size = check_number(s$train_size, "train_size", 0, 1, open = "min", call = call),
    early_stopping = check_flag(s$early_stopping, "early_stopping", call),
    early_stopping_patience = count("early_stopping_patience", 1),
    check_val_every_n_epoch = count("check_val_every_n_epoch", 1),
    lr = check_number(s$lr, "lr", 0, 1, open = "min", call = call),
    kl_weight = check_number(s$kl_weight, "kl_weight", 0, call = call),
    n_epochs_kl_warmup = count("n_epochs_kl_warmup", 0, null_ok = TRUE)
  )
  if (out$early_stopping && out$train_size == 1) {
    abort_scvae(
      c(
        "{.arg early_stopping} needs cells for validation, but {.arg train_size} is 1.",
        i = "Choose {.code train_size = 0.9} or {.code early_stopping = FALSE}."
      ),
      "argument",
      call
    )
  }
  out <- c(
    out,
    check_control(s$connections, "connections", connectionControl, call),
    check_control(s$training, "training", trainingControl, call),
    batch_settings(check_control(s$batches, "batches", batchControl, call)),
    list(
      threads = check_threads(s$threads, call),
      device = check_device(s$device, call)
    )
  )
  out[!vapply(out, is.null, logical(1))]
}

# A device by its name. Whether it is there, the compiled code says. A build for graphics cards that
# finds none says so once: it may be what the user wonders about.
check_device <- function(device, call) {
  is_numbered <- rlang::is_string(device) && grepl("^cuda:[0-9]+$", device)
  if (!is_numbered) {
    if (identical(device, c("auto", "cpu", "cuda"))) {
      device <- "auto"
    }
    device <- check_choice(device, c("auto", "cpu", "cuda", "cuda:1"), "device", call)
  }
  if (device != "cpu" && "cuda" %in% rust_call(rs_version())$features) {
    rust_call(rs_allow_tf32(isTRUE(getOption("scVAE.tf32"))))
    missing <- rust_call(rs_devices())$cuda_missing
    if (device == "auto" && !is.null(missing)) {
      cli::cli_inform(
        "No graphics card is used: {missing}.",
        class = "scvae_message",
        .frequency = "once",
        .frequency_id = "scvae_no_card"
      )
    }
  }
  device
}

# By the names that Rust knows them by.
batch_settings <- function(batches) {
  own <- names(batches) != "beta"
  names(batches)[own] <- paste0("batch_", names(batches)[own])
  batches
}

# A control object, or a list of its arguments.
check_control <- function(x, name, constructor, call) {
  kind <- sprintf("%sControl", sub("e?s$", "", name))
  if (inherits(x, paste0("scvae_", c("connection", "training", "batch"), "_control"))) {
    right <- names(constructor())
    if (identical(names(x), right)) {
      # Checked again: it may have been changed since it was made.
      return(unclass(do.call(constructor, unclass(x))))
    }
  } else if (is.list(x)) {
    if (anyDuplicated(names(x))) {
      twice <- names(x)[anyDuplicated(names(x))]
      abort_scvae(
        c("{.arg {name}} has {.arg {twice}} twice.", i = "Give it once."), "argument", call
      )
    }
    check_known_arguments(names(x) %||% rep("", length(x)), names(formals(constructor)), call)
    return(unclass(do.call(constructor, x)))
  }
  value <- describe(x)
  abort_scvae(
    c("{.arg {name}} cannot be {value}.", i = "Give it {.code {kind}()}."),
    "argument",
    call
  )
}
