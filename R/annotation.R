# What is known of each cell: its batch and its label. `cells` is a handle on counts or on an
# embedding.

# Batches ----------------------------------------------------------------------------------------

# `batch` is NULL, one value per cell, the name of a column of the cells' annotation, or several
# covariates: names of columns, a data frame or a list. Batches are the values, or the combinations
# of the covariates' values that occur. Names are sorted as text in the C locale, so that every
# route and every computer gives them the same order.
# `covariates` are those that a model knows, in its order.
resolve_batch <- function(batch, cells, call = rlang::caller_env(), covariates = NULL) {
  if (is.null(batch)) {
    return(NULL)
  }
  column <- NULL
  if (is.character(batch) && names_columns(batch, cells)) {
    column <- utf8_names(batch, "column", call)
    batch <- lapply(stats::setNames(batch, column), cell_column, cells, "batch", call)
  } else if (is.data.frame(batch) || methods::is(batch, "DataFrame")) {
    batch <- lapply(as.list(rows_of_cells(batch, cells, call)), unname)
  } else if (!is.list(batch)) {
    batch <- list(batch = batch)
  }
  if (length(covariates) > 0 && length(batch) > 1) {
    batch <- choose_covariates(batch, covariates, call)
  }
  names(batch) <- utf8_names(names(batch), "covariate", call)
  batch_levels(check_covariates(batch, cells, column, call), column, call)
}

# The rows of a table in the cells' order, if they have the cells' names.
rows_of_cells <- function(table, cells, call) {
  own_names <- !isFALSE(cells$has_names) &&
    (!is.data.frame(table) || .row_names_info(table) > 0)
  if (own_names && names_all_cells(rownames(table), cells$cell_names, "batch", call)) {
    table <- table[match(cells$cell_names, rownames(table)), , drop = FALSE]
  }
  table
}

choose_covariates <- function(batch, covariates, call) {
  absent <- setdiff(covariates, names(batch))
  if (length(absent) > 0) {
    abort_scvae(
      c(
        "{.arg batch} lacks the covariate{?s} {.val {absent}}.",
        i = "The model was fitted with {.val {covariates}}."
      ),
      "argument",
      call
    )
  }
  batch[covariates]
}

# Text that is not one value per cell can only mean columns.
names_columns <- function(batch, cells) {
  known <- c(cells$columns, cells$hidden_columns)
  if (length(batch) == 1) {
    return(cells$n_cells != 1)
  }
  columns <- all(batch %in% known) && !anyDuplicated(batch)
  columns || (length(batch) != cells$n_cells && any(batch %in% known))
}

check_covariates <- function(batch, cells, column, call) {
  names <- names(batch)
  if (length(batch) == 0 || is.null(names) || anyDuplicated(names) || any(names == "")) {
    value <- describe(batch)
    abort_scvae(
      c(
        "The covariates of {.arg batch} need names of their own, but {.arg batch} is {value}.",
        i = "Give {.code data.frame(donor = ..., chemistry = ...)} or names of columns."
      ),
      "argument",
      call
    )
  }
  single <- length(batch) == 1
  for (name in names) {
    source <- if (!is.null(column)) name else if (!single) name
    batch[[name]] <- check_batch_vector(batch[[name]], cells, source, call)
  }
  batch
}

# Codes and names of the batches, and which level of each covariate a batch has.
batch_levels <- function(values, column, call) {
  levels <- lapply(values, function(x) sort(unique(x), method = "radix"))
  codes <- Map(match, values, levels)
  # The last covariate changes fastest.
  code <- Reduce(function(all, i) all * length(levels[[i]]) + codes[[i]] - 1, seq_along(codes), 0)
  present <- sort(unique(code))
  first <- match(present, code)
  names <- do.call(paste, c(lapply(values, `[`, first), sep = " / "))
  if (anyDuplicated(names)) {
    twice <- names[anyDuplicated(names)]
    abort_scvae(
      c(
        "Two combinations of the covariates of {.arg batch} would both be called {.val {twice}}.",
        i = "Rename levels that hold {.val / }."
      ),
      "argument",
      call
    )
  }
  list(
    codes = match(code, present) - 1L,
    names = names,
    covariates = levels,
    levels = unlist(lapply(codes, function(x) x[first] - 1L), use.names = FALSE),
    values = factor(names[match(code, present)], levels = names),
    column = column
  )
}

check_batch_vector <- function(batch, cells, column, call) {
  batch <- cell_values(batch, cells, "batch", column, call)
  source <- if (is.null(column)) "" else sprintf(" (column \"%s\")", column)
  missing <- which(is.na(batch))
  if (length(missing) > 0) {
    first <- cells$cell_names[missing[1]]
    abort_scvae(
      c(
        "{.arg batch}{source} is NA for {length(missing)} cell{?s}; the first is {.val {first}}.",
        i = "Give every cell a batch, or leave these cells out."
      ),
      "argument",
      call
    )
  }
  batch
}

# A batch needs cells to learn from: under 3 is an error, under 20 a warning. `kept` says which
# cells the filter left.
check_batch_size <- function(batch, kept = NULL, call = rlang::caller_env()) {
  if (is.null(batch)) {
    return(invisible())
  }
  values <- if (is.null(kept)) batch$values else batch$values[kept]
  size <- table(values)
  tiny <- names(size)[size < 3]
  if (length(tiny) > 0) {
    abort_scvae(
      c(
        "{cli::qty(length(tiny))}Batch{?es} {.val {tiny}} {?has/have} fewer than 3 cells.",
        i = "Join small batches or leave their cells out."
      ),
      "counts",
      call
    )
  }
  small <- names(size)[size < 20]
  if (length(small) > 0) {
    warn_scvae(
      c(
        "{cli::qty(length(small))}Batch{?es} {.val {small}} {?has/have} fewer than 20 cells.",
        i = "The correction of so small a batch is uncertain."
      ),
      "batch"
    )
  }
  invisible()
}

# Labels -----------------------------------------------------------------------------------------

# The label of each cell, NA where there is none.
resolve_labels <- function(labels, cells, call) {
  if (is.null(labels)) {
    return(NULL)
  }
  column <- NULL
  if (rlang::is_string(labels) && cells$n_cells != 1) {
    column <- labels
    labels <- cell_column(labels, cells, "labels", call)
  }
  cell_values(labels, cells, "labels", column, call)
}

# Both -------------------------------------------------------------------------------------------

# A column of the annotation, for the argument `argument`.
cell_column <- function(name, cells, argument, call) {
  known <- c(cells$columns, cells$hidden_columns)
  if (!name %in% known) {
    abort_scvae(
      if (length(known) == 0) {
        c(
          "{.arg {argument}} is {.val {name}}, but there are no columns to look it up in.",
          i = "Give a vector with one value for each of the {cells$n_cells} cells."
        )
      } else {
        c(
          "There is no column {.val {name}} for {.arg {argument}}.",
          i = "The columns are {.val {known}}.",
          nearest_hint(name, known)
        )
      },
      "argument",
      call
    )
  }
  # A column goes by position: names that it kept may be those of before.
  unname(cells$column(name))
}

# One text per cell, in the cells' order; NA where there is none. `column` is where the values are
# from, for messages.
cell_values <- function(values, cells, argument, column, call) {
  source <- if (is.null(column)) "" else sprintf(" (column \"%s\")", column)
  if (is(values, "Rle")) {
    values <- as.vector(values)
  }
  if (!is.atomic(values) || length(dim(values)) > 1) {
    value <- describe(values)
    abort_scvae(
      c(
        "{.arg {argument}}{source} must be a vector or a factor, not {value}.",
        i = "Give one value per cell, or the name of a column."
      ),
      "argument",
      call
    )
  }
  if (length(values) != cells$n_cells) {
    abort_scvae(
      c(
        "{.arg {argument}}{source} must have one value per cell: {cells$n_cells}, not \\
         {length(values)}.",
        i = "Its order must be that of the cells."
      ),
      "argument",
      call
    )
  }
  # Names that were made up for cells without any are nobody's to go by.
  by_name <- !isFALSE(cells$has_names)
  if (by_name && names_all_cells(names(values), cells$cell_names, argument, call)) {
    values <- values[match(cells$cell_names, names(values))]
  }
  utf8_names(unname(as.character(values)), argument, call)
}

# Whether values are to be taken by their names: they are, when these are the cells'. Names of which
# none is a cell's (as sapply() gives) say nothing of the order. Where some are, the others must be,
# too: an order of their own would be taken for that of the cells.
names_all_cells <- function(given, cell_names, argument, call) {
  if (is.null(given) || !any(given %in% cell_names)) {
    return(FALSE)
  }
  twice <- unique(given[duplicated(given) & given %in% cell_names])
  absent <- setdiff(cell_names, given)
  if (length(twice) > 0) {
    shown <- utils::head(twice, 3)
    abort_scvae(
      c(
        "{length(twice)} cell{?s} {?has/have} more than one value in {.arg {argument}}: \\
         {.val {shown}}.",
        i = "Give every cell one value."
      ),
      "argument",
      call
    )
  }
  if (length(absent) > 0) {
    shown <- utils::head(absent, 3)
    unknown <- utils::head(setdiff(given, cell_names), 3)
    abort_scvae(
      c(
        "The names of {.arg {argument}} lack {length(absent)} of the {length(cell_names)} cells: \\
         {.val {shown}}.",
        i = if (length(unknown) > 0) "Unknown are for example {.val {unknown}}.",
        i = "Name all cells or none: without names the order counts."
      ),
      "argument",
      call
    )
  }
  TRUE
}
