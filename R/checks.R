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

# One number within [min, max]; `open` excludes the ends it names ("min", "max").
check_number <- function(x, name, min = -Inf, max = Inf, whole = FALSE, open = character(),
                         null_ok = FALSE, cure = NULL, call = rlang::caller_env()) {
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
    range <- number_range(min, max, open)
    value <- describe(x)
    or_null <- if (null_ok) " or NULL" else ""
    cure <- cure %||% default_cure(name)
    abort_scvae(
      c("{.arg {name}} must be {kind}{range}{or_null}, not {value}.", i = "{cure}"),
      "argument",
      call
    )
  }
  if (whole) as.integer(x) else as.double(x)
}

# The default is the safe choice.
default_cure <- function(name) {
  defaults <- c(
    formals(fitSCVAE), formals(connectionControl), formals(trainingControl), formals(batchControl)
  )
  if (is.numeric(defaults[[name]])) {
    sprintf("The default is %s.", format_number(defaults[[name]]))
  } else {
    sprintf("Give `%s` a value in this range.", name)
  }
}

number_range <- function(min, max, open) {
  lower <- if (is.finite(min)) {
    paste(if ("min" %in% open) "above" else "of at least", format_number(min))
  }
  # The greatest integer is a limit of the machine, not of the argument.
  upper <- if (is.finite(max) && max < .Machine$integer.max - 1) {
    paste(if ("max" %in% open) "below" else "at most", format_number(max))
  }
  range <- paste(c(lower, upper), collapse = " and ")
  if (nzchar(range)) paste0(" ", range) else ""
}

format_number <- function(x) format(x, digits = 10, trim = TRUE)

check_flag <- function(x, name, call = rlang::caller_env()) {
  if (!(is.logical(x) && length(x) == 1 && !is.na(x))) {
    value <- describe(x)
    abort_scvae("{.arg {name}} must be TRUE or FALSE, not {value}.", "argument", call)
  }
  x
}

check_string <- function(x, name, null_ok = FALSE, call = rlang::caller_env()) {
  if (is.null(x) && null_ok) {
    return(NULL)
  }
  if (!(is.character(x) && length(x) == 1 && !is.na(x) && nzchar(x))) {
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
  if (!(is.character(x) && length(x) == 1 && x %in% choices)) {
    value <- describe(x)
    hint <- if (is.character(x) && length(x) == 1) nearest_hint(x, choices)
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

# Stops at the first name in `given` that is not in `known`.
check_known_arguments <- function(given, known, call = rlang::caller_env()) {
  if (length(given) == 0) {
    return(invisible())
  }
  given <- given %||% ""
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
  unknown <- setdiff(given, known)
  if (length(unknown) > 0) {
    first <- unknown[1]
    nearest <- nearest_name(first, known)
    hint <- if (is.null(nearest)) {
      c(i = "The help page lists the arguments.")
    } else {
      c(i = "Did you mean {.arg {nearest}}?")
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

check_names <- function(names, what, call = rlang::caller_env()) {
  bad <- which(is.na(names) | names == "")
  if (length(bad) > 0) {
    first <- bad[1]
    abort_scvae(
      c(
        "{length(bad)} {what} name{?s} {?is/are} missing; the first is number {first}.",
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
      c("{length(twice)} {what} name{?s} {?occurs/occur} more than once: {.val {shown}}.",
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
        i = "Install it, then try again."
      ),
      "package",
      call
    )
  }
  invisible()
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

# All cores, within the limits of OMP_THREAD_LIMIT and of R CMD check.
available_threads <- function() {
  cores <- parallel::detectCores()
  limit <- suppressWarnings(as.integer(Sys.getenv("OMP_THREAD_LIMIT")))
  check <- tolower(Sys.getenv("_R_CHECK_LIMIT_CORES_"))
  limits <- c(
    if (is.na(cores)) 1L else cores,
    if (!is.na(limit) && limit > 0) limit,
    if (nzchar(check) && check != "false") 2L
  )
  max(1L, min(limits))
}
