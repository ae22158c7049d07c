# Checks of arguments. Each error names the argument, the value it has and the cure.

abort_scvae <- function(message, class, call = rlang::caller_env(), .envir = parent.frame()) {
  cli::cli_abort(
    message,
    class = c(paste0("scvae_error_", class), "scvae_error"),
    call = call,
    .envir = .envir
  )
}

warn_scvae <- function(message, class, .envir = parent.frame()) {
  cli::cli_warn(
    message,
    class = c(paste0("scvae_warning_", class), "scvae_warning"),
    .envir = .envir
  )
}

# A value in few words, for messages.
describe <- function(x) {
  if (is.null(x)) {
    return("NULL")
  }
  if (is.atomic(x) && length(x) == 1 && !is.object(x)) {
    return(if (is.character(x)) encodeString(x, quote = "\"") else format(x, digits = 7))
  }
  if (is.function(x)) {
    return("a function")
  }
  sprintf("<%s> of length %d", class(x)[1], length(x))
}

# One number within [min, max]; `open` excludes the ends it names ("min", "max"). Whole numbers are
# R's integers.
check_number <- function(x, name, min = -Inf, max = if (whole) .Machine$integer.max else Inf,
                         whole = FALSE, open = character(), null_ok = FALSE, cure = NULL,
                         call = rlang::caller_env()) {
  if (is.null(x) && null_ok) {
    return(NULL)
  }
  ok <- is.numeric(x) && length(x) == 1 && is.finite(x)
  if (ok) {
    above <- if ("min" %in% open) x > min else x >= min
    below <- if ("max" %in% open) x < max else x <= max
    ok <- above && below && (!whole || x == round(x))
  }
  if (!ok) {
    kind <- if (whole) "one whole number" else "one number"
    range <- number_range(min, max, open, x)
    value <- describe(x)
    or_null <- if (null_ok) " or NULL" else ""
    cure <- cure %||% default_cure(name, range, null_ok)
    abort_scvae(
      c("{.arg {name}} must be {kind}{range}{or_null}, not {value}.", i = "{cure}"),
      "argument",
      call
    )
  }
  if (whole) as.integer(x) else as.double(x)
}

# The default is the safe choice.
default_cure <- function(name, range, null_ok) {
  defaults <- c(
    formals(fitSCVAE), formals(connectionControl), formals(trainingControl), formals(batchControl)
  )
  if (is.numeric(defaults[[name]])) {
    sprintf("The default is %s.", format_number(defaults[[name]]))
  } else if (null_ok || (name %in% names(defaults) && is.null(defaults[[name]]))) {
    sprintf("Leave `%s` out, and it is chosen for you.", name)
  } else {
    sprintf("Give `%s` a value%s.", name, if (nzchar(range)) range else " that is finite")
  }
}

number_range <- function(min, max, open, x) {
  lower <- if (is.finite(min)) {
    paste(if ("min" %in% open) "above" else "of at least", format_number(min))
  }
  # The greatest integer is a limit of the machine, of interest only to whoever passes it.
  passed <- is.numeric(x) && length(x) == 1 && isTRUE(x > max)
  upper <- if (is.finite(max) && (passed || max < .Machine$integer.max - 1)) {
    paste(if ("max" %in% open) "below" else "at most", format_number(max))
  }
  range <- paste(c(lower, upper), collapse = " and ")
  if (nzchar(range)) paste0(" ", range) else ""
}

format_number <- function(x) format(x, digits = 10, trim = TRUE)

check_flag <- function(x, name, call = rlang::caller_env()) {
  if (!rlang::is_bool(x)) {
    value <- describe(x)
    abort_scvae("{.arg {name}} must be TRUE or FALSE, not {value}.", "argument", call)
  }
  x
}

check_string <- function(x, name, null_ok = FALSE, call = rlang::caller_env()) {
  if (is.null(x) && null_ok) {
    return(NULL)
  }
  if (!(rlang::is_string(x) && nzchar(x))) {
    value <- describe(x)
    or_null <- if (null_ok) " or NULL" else ""
    abort_scvae("{.arg {name}} must be one string{or_null}, not {value}.", "argument", call)
  }
  x
}

# Like match.arg(), but exact, and the error says which value is near.
check_choice <- function(x, choices, name, call = rlang::caller_env()) {
  if (identical(x, choices)) {
    return(choices[1])
  }
  if (!(rlang::is_string(x) && x %in% choices)) {
    value <- describe(x)
    hint <- if (rlang::is_string(x)) nearest_hint(x, choices)
    abort_scvae(
      c("{.arg {name}} must be one of {.val {choices}}, not {value}.", hint),
      "argument",
      call
    )
  }
  x
}

# The known name nearest to a mistyped one, or the shortest that has it as a word ("epochs" in
# "max_epochs"), or NULL.
nearest_name <- function(name, known) {
  if (length(known) == 0 || is.na(name)) {
    return(NULL)
  }
  distance <- utils::adist(name, known, ignore.case = TRUE)[1, ]
  best <- which.min(distance)
  if (distance[best] <= max(2, nchar(name) / 3)) {
    return(known[best])
  }
  has_word <- vapply(strsplit(tolower(known), "[._]"), function(w) tolower(name) %in% w, TRUE)
  longer <- known[has_word]
  if (length(longer) > 0) longer[which.min(nchar(longer))]
}

nearest_hint <- function(name, known) {
  nearest <- nearest_name(name, known)
  if (is.null(nearest)) NULL else c(i = paste0("Did you mean \"", escape_cli(nearest), "\"?"))
}

# Text from data must not be read as cli's markup.
escape_cli <- function(text) gsub("}", "}}", gsub("{", "{{", text, fixed = TRUE), fixed = TRUE)

# What other tools call the arguments of this one.
other_names <- list(
  lr = c("learning_rate", "learning.rate", "learningrate"),
  max_epochs = c(
    "epochs", "n_epochs", "nepochs", "nn_epochs", "num_epochs", "epochs_num", "max_iter", "n_iter"
  ),
  n_latent = c(
    "dims", "ndims", "n_dims", "dim", "dims.use", "latent_dim", "latent_dims", "n_components",
    "ncomponents", "npcs", "n_pcs", "z_dim"
  ),
  n_hidden = c("hidden_size", "hidden_dim", "hidden_units", "n_units"),
  fc_layer = c("n_layers", "nlayers", "num_layers"),
  layer = c("slot", "slot.use"),
  assay = c("assay.use", "assay_use"),
  assay.type = c("assay_type", "exprs_values", "assay_name", "layer"),
  batch = c(
    "batch_key", "batch_col", "batch.var", "batch_var", "vars.use", "group.by", "group.by.vars",
    "split.by", "covariates", "categorical_covariate_keys"
  ),
  batch_size = c("batchsize", "minibatch_size", "mini_batch_size"),
  likelihood = c("gene_likelihood", "distribution", "recon_loss"),
  dropout_rate = c("dropout", "drop_out"),
  early_stopping_patience = c("patience", "early_stopping_rounds"),
  kl_weight = c("kl", "max_kl_weight", "kld_weight"),
  n_epochs_kl_warmup = c("kl_warmup", "warmup", "n_steps_kl_warmup"),
  min_cells = c("min.cells", "min_cells_per_gene"),
  min_genes = c("min.features", "min_features", "min.genes"),
  train_size = c("validation_size", "val_size", "test_size", "train_fraction"),
  threads = c(
    "n_threads", "nthreads", "num_threads", "n_cores", "ncores", "cores", "mc.cores", "n_jobs",
    "nproc", "workers"
  ),
  device = c("use_gpu", "use_cuda", "gpu", "accelerator"),
  seed = c("random_state", "random.seed", "rng_seed", "set.seed", "seed.use"),
  transposed = c("transpose"),
  connections = c("n_connections", "sparsity")
)

# The argument that a name of another tool, or an argument of one of the controls, stands for.
own_name <- function(name, known) {
  by_other <- names(other_names)[vapply(other_names, function(x) tolower(name) %in% x, TRUE)]
  found <- intersect(by_other, known)
  if (length(found) > 0) {
    return(found[1])
  }
  controls <- c(
    connections = "connectionControl", training = "trainingControl", batches = "batchControl"
  )
  for (argument in intersect(names(controls), known)) {
    control <- controls[[argument]]
    if (name %in% names(formals(control, envir = topenv()))) {
      return(sprintf("%s = %s(%s = ...)", argument, control, name))
    }
  }
  # Weights by which other tools say how far batches are to be mixed.
  if ("batches" %in% known && tolower(name) %in% c("lambda", "theta", "sigma")) {
    return("batches = batchControl(beta = ...)")
  }
  nearest_name(name, known)
}

# Arguments after the first ones are given by name, or a number meant for one would pass as another.
check_named <- function(given, call = rlang::caller_env()) {
  if (any(is.na(given) | given == "")) {
    abort_scvae(
      c(
        "There is an argument without a name.",
        i = "Write all arguments after {.arg x} and {.arg batch} as {.code name = value}."
      ),
      "argument",
      call
    )
  }
  invisible()
}

# Stops at the first name in `given` that is not in `known`. `also` holds names that may be meant,
# but not given here.
check_known_arguments <- function(given, known, call = rlang::caller_env(), also = character()) {
  if (length(given) == 0) {
    return(invisible())
  }
  given <- given %||% ""
  check_named(given, call)
  unknown <- setdiff(given, known)
  if (length(unknown) > 0) {
    first <- unknown[1]
    meant <- own_name(first, c(known, also))
    hint <- if (is.null(meant)) {
      c(i = "The help page lists the arguments.")
    } else {
      c(i = "Did you mean {.arg {meant}}?")
    }
    abort_scvae(c("{.arg {first}} is not a known argument.", hint), "argument", call)
  }
  invisible()
}

# The names of a `...`, "" where there is none.
dots_names <- function(...) {
  n <- ...length()
  if (n == 0) character() else names(list(...)) %||% rep("", n)
}

# Names in UTF-8, as Rust takes them, so that the same name is the same text everywhere.
utf8_names <- function(names, what, call = rlang::caller_env()) {
  if (!is.character(names)) {
    return(names)
  }
  given <- names
  latin1 <- Encoding(names) == "latin1"
  names[latin1] <- enc2utf8(names[latin1])
  # Text without a mark is mostly UTF-8, whatever the locale; else it is in the locale's encoding.
  Encoding(names[Encoding(names) == "unknown"]) <- "UTF-8"
  other <- !is.na(names) & !validUTF8(names) & Encoding(given) == "unknown"
  names[other] <- iconv(given[other], "", "UTF-8")
  bad <- which(
    is.na(names) != is.na(given) | Encoding(given) == "bytes" | !(is.na(names) | validUTF8(names))
  )
  if (length(bad) > 0) {
    first <- bad[1]
    # As escapes, because the text itself cannot be shown.
    shown <- iconv(given[first], "ASCII", "ASCII", sub = "byte")
    abort_scvae(
      c(
        "{length(bad)} {what} {cli::qty(length(bad))}name{?s} {?is/are} not valid text; the \\
         first, number {first}, is {.val {shown}}.",
        i = "Say in which encoding they are, for example with \\
             {.code iconv(names, from = \"latin1\", to = \"UTF-8\")}."
      ),
      "counts",
      call
    )
  }
  names
}

check_names <- function(names, what, call = rlang::caller_env()) {
  names <- utf8_names(names, what, call)
  bad <- which(is.na(names) | names == "")
  if (length(bad) > 0) {
    first <- bad[1]
    abort_scvae(
      c(
        "{length(bad)} {what} {cli::qty(length(bad))}name{?s} {?is/are} missing; the first is \\
         number {first}.",
        i = "Give every {what} a name."
      ),
      "counts",
      call
    )
  }
  twice <- unique(names[duplicated(names)])
  if (length(twice) > 0) {
    shown <- utils::head(twice, 3)
    cli_cure <- if (what == "gene") {
      "Make them unique, for example with {.code make.unique(rownames(x))}, or sum the rows."
    } else {
      "Make them unique, for example with {.code make.unique(colnames(x))}."
    }
    abort_scvae(
      c(
        "{length(twice)} {what} {cli::qty(length(twice))}name{?s} {?occurs/occur} more than once: \\
         {.val {shown}}.",
        i = cli_cure
      ),
      "counts",
      call
    )
  }
  names
}

need_package <- function(package, purpose, call = rlang::caller_env()) {
  if (!requireNamespace(package, quietly = TRUE)) {
    abort_scvae(
      c(
        "{.pkg {package}} is needed {purpose}, but is not installed.",
        i = "Install it with {.code {install_command(package)}}."
      ),
      "package",
      call
    )
  }
  invisible()
}

install_command <- function(package) {
  bioconductor <- c(
    "batchelor", "BiocParallel", "DelayedArray", "HDF5Array", "S4Vectors", "SingleCellExperiment",
    "SummarizedExperiment"
  )
  installer <- if (package %in% bioconductor) "BiocManager::install" else "install.packages"
  sprintf("%s(\"%s\")", installer, package)
}

# The seed handed to Rust. Without one it is drawn from R's generator, so that set.seed() works;
# with one R's generator is left alone.
check_seed <- function(seed, name = "seed", call = rlang::caller_env()) {
  if (is.null(seed)) {
    return(sample.int(.Machine$integer.max, 1) - 1L)
  }
  check_number(seed, name, min = 0, max = .Machine$integer.max - 1, whole = TRUE, call = call)
}

check_threads <- function(threads, call = rlang::caller_env()) {
  if (!is.null(threads)) {
    return(check_number(threads, "threads", min = 1, max = 1024, whole = TRUE, call = call))
  }
  option <- getOption("scVAE.threads")
  if (!is.null(option)) {
    return(check_number(
      option, "scVAE.threads",
      min = 1, max = 1024, whole = TRUE,
      cure = "Set it with `options(scVAE.threads = 2)`.", call = call
    ))
  }
  available_threads()
}

# What this process may use: Rust looks at its affinity and its control group. Within that, the
# limits of the job (Slurm), of OMP_THREAD_LIMIT and of R CMD check.
available_threads <- function() {
  limit <- function(variable) {
    value <- suppressWarnings(as.integer(Sys.getenv(variable)))
    if (!is.na(value) && value > 0) value
  }
  check <- tolower(Sys.getenv("_R_CHECK_LIMIT_CORES_"))
  min(
    rs_available_threads(),
    limit("SLURM_CPUS_PER_TASK"),
    limit("OMP_THREAD_LIMIT"),
    if (nzchar(check) && check != "false") 2L
  )
}
