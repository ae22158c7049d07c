# Which cells evaluateEmbedding() scores, and what is known of them.

# What is scored: coordinates, and the labels and batches as factors without empty levels.
cells_to_score <- function(cells, labels, batch, unintegrated, verbose, call) {
  labels <- resolve_labels(labels, cells, call)
  batch <- resolve_batch(batch, cells, call)$values
  before <- resolve_unintegrated(unintegrated, cells, call)
  if (is.null(labels) && is.null(batch)) {
    abort_scvae(
      c(
        "There is nothing to compare the embedding with.",
        i = "Give {.arg labels}, {.arg batch} or both."
      ),
      "argument",
      call
    )
  }
  placed <- rowSums(!is.finite(cells$values)) == 0
  labelled <- if (is.null(labels)) rep(TRUE, cells$n_cells) else !is.na(labels)
  # Unknown is trained: the flag is lacking in cells that a merge brought in.
  untrained <- if (is.null(cells$trained)) rep(FALSE, cells$n_cells) else cells$trained %in% FALSE
  kept <- which(placed & labelled & !untrained)
  why <- c(
    "without coordinates" = sum(!placed),
    "not trained on" = sum(placed & untrained),
    "without a label" = sum(placed & !untrained & !labelled)
  )
  report_left_out(why[why > 0], cells$n_cells, verbose)
  check_enough_cells(kept, labels[kept], call)
  batch <- batch[kept]
  if (length(unique(batch)) == 1) {
    batch <- only_batch(batch, labels, verbose, call)
  }
  if (!is.null(before) && is.null(batch)) {
    abort_scvae(
      c(
        "{.arg unintegrated} is for a score of batches, and there are none.",
        i = "Give {.arg batch} too, or leave it out."
      ),
      "argument",
      call
    )
  }
  list(
    values = unname(cells$values[kept, , drop = FALSE]),
    labels = if (!is.null(labels)) factor(labels[kept]),
    batch = if (!is.null(batch)) factor(batch),
    before = if (!is.null(before)) finite_rows(before, kept, call),
    n_all = cells$n_cells
  )
}

resolve_unintegrated <- function(unintegrated, cells, call) {
  if (is.null(unintegrated)) {
    return(NULL)
  }
  if (rlang::is_string(unintegrated) && !is.null(cells$other)) {
    unintegrated <- cells$other(unintegrated, "unintegrated")
  }
  unintegrated <- numeric_matrix(unintegrated, "unintegrated", call)
  given <- if (cells$has_names) rownames(unintegrated)
  if (names_all_cells(given, cells$cell_names, "unintegrated", call)) {
    return(unintegrated[match(cells$cell_names, given), , drop = FALSE])
  }
  if (nrow(unintegrated) != cells$n_cells) {
    abort_scvae(
      c(
        "{.arg unintegrated} must have one row per cell: {cells$n_cells}, not \\
         {nrow(unintegrated)}.",
        i = "Its order must be that of the rows of {.arg embedding}."
      ),
      "argument",
      call
    )
  }
  unintegrated
}

finite_rows <- function(before, kept, call) {
  before <- unname(before[kept, , drop = FALSE])
  lacking <- sum(rowSums(!is.finite(before)) > 0)
  if (lacking > 0) {
    abort_scvae(
      c(
        "{.arg unintegrated} lacks values for {lacking} of the {length(kept)} cells to score.",
        i = "Give every cell a value in every column."
      ),
      "argument",
      call
    )
  }
  before
}

# `why` holds the numbers of cells, by reason.
report_left_out <- function(why, n_cells, verbose) {
  left_out <- sum(why)
  if (left_out > 0 && verbose) {
    why <- paste(why, names(why))
    cli::cli_inform(c(
      i = "{left_out} of {n_cells} cells {?is/are} left out: {why}."
    ))
  }
}

check_enough_cells <- function(kept, labels, call) {
  n <- length(kept)
  if (n < 10) {
    abort_scvae(
      c(
        "{n} cell{?s} {?is/are} left to score; at least 10 are needed.",
        i = "Look for NA in {.arg embedding} and {.arg labels}."
      ),
      "argument",
      call
    )
  }
  if (is.null(labels)) {
    return(invisible())
  }
  values <- unique(labels)
  n_values <- length(values)
  if (n_values < 2) {
    abort_scvae(
      c(
        "{.arg labels} must have at least 2 values, not only {.val {values}}.",
        i = "Give the cells' types, or leave it out to score the batches alone."
      ),
      "argument",
      call
    )
  }
  if (n_values > n / 2) {
    abort_scvae(
      c(
        "{.arg labels} has {n_values} different values for {n} cells.",
        i = "Give the cells' types, which many cells share."
      ),
      "argument",
      call
    )
  }
}

# One batch is no batch, as in fitSCVAE().
only_batch <- function(batch, labels, verbose, call) {
  name <- as.character(batch[1])
  if (is.null(labels)) {
    abort_scvae(
      c(
        "All cells are of batch {.val {name}}, so there is nothing to compare.",
        i = "Give {.arg labels}, or a {.arg batch} with at least 2 values."
      ),
      "argument",
      call
    )
  }
  if (verbose) {
    cli::cli_inform(c(i = "All cells are of batch {.val {name}}: batches are not scored."))
  }
  NULL
}
