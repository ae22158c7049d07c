# A small set of counts with a known truth, for examples, tests and first tries.

#' Simulate counts with known cell types and batches
#'
#' Negative binomial counts: the genes' means are log-normal, every cell type has marker genes with
#' a higher mean, every batch multiplies the means with factors of its own, and the cells' numbers
#' of counts are log-normal. With the defaults 6 to 10 percent of the values are not zero.
#'
#' @param n_cells,n_genes Numbers of cells and genes.
#' @param n_types,n_batches Numbers of cell types and of batches.
#' @param n_markers Number of marker genes per cell type.
#' @param library_size Median number of counts of a cell; NULL: 0.15 times `n_genes`.
#' @param marker_fold How many times higher a marker gene's mean is in its cell type.
#' @param batch_effect Standard deviation, on the natural log scale, of the batches' factors; 0: no
#'   batch effect.
#' @param dispersion Inverse dispersion (`size`) of the negative binomial.
#' @param seed A whole number: R's random numbers are then left as they were. NULL: use them.
#' @return A list with `counts` (a `dgCMatrix`, genes x cells), `cell_type` and `batch` (factors,
#'   one value per cell) and `markers` (a data frame with `gene` and `cell_type`).
#' @examples
#' sim <- simulateCounts(n_cells = 100, n_genes = 200, seed = 1)
#' sim$counts[1:4, 1:4]
#' table(sim$cell_type, sim$batch)
#' @export
simulateCounts <- function(n_cells = 500, n_genes = 5000, n_types = 4, n_batches = 2,
                           n_markers = 25, library_size = NULL, marker_fold = 10,
                           batch_effect = 0.3, dispersion = 2, seed = NULL) {
  whole <- function(x, name, min) {
    check_number(x, name, min = min, max = 1e7, whole = TRUE, call = rlang::caller_env())
  }
  n_cells <- whole(n_cells, "n_cells", 2)
  n_genes <- whole(n_genes, "n_genes", 2)
  n_types <- whole(n_types, "n_types", 1)
  n_batches <- whole(n_batches, "n_batches", 1)
  n_markers <- whole(n_markers, "n_markers", 0)
  library_size <- check_number(library_size %||% (0.15 * n_genes), "library_size", 0, open = "min")
  check_number(marker_fold, "marker_fold", 0, open = "min")
  check_number(batch_effect, "batch_effect", 0)
  check_number(dispersion, "dispersion", 0, open = "min")
  if (n_types * n_markers > n_genes) {
    abort_scvae(
      c(
        "{n_types} cell type{?s} with {n_markers} marker{?s} each need more than {n_genes} genes.",
        i = "Choose a smaller {.arg n_markers}."
      ),
      "argument"
    )
  }
  if (!is.null(seed)) {
    seed <- check_seed(seed)
    keep_random_state()
    set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
  }
  genes <- sprintf("gene%0*d", nchar(n_genes), seq_len(n_genes))
  cells <- sprintf("cell%0*d", nchar(n_cells), seq_len(n_cells))
  type <- shuffled_groups(n_cells, n_types, "type")
  batch <- shuffled_groups(n_cells, n_batches, "batch")
  fraction <- type_fractions(n_genes, n_types, n_markers, marker_fold)
  effect <- matrix(exp(stats::rnorm(n_genes * n_batches, 0, batch_effect)), n_genes)
  depth <- library_size * exp(stats::rnorm(n_cells, 0, 0.35))
  counts <- draw_counts(fraction$means, effect, type, batch, depth, dispersion)
  dimnames(counts) <- list(genes, cells)
  list(
    counts = counts,
    cell_type = stats::setNames(type, cells),
    batch = stats::setNames(batch, cells),
    markers = data.frame(
      gene = genes[fraction$markers],
      cell_type = rep(levels(type), each = n_markers)
    )
  )
}

# Groups of nearly equal size in random order.
shuffled_groups <- function(n, n_groups, prefix) {
  labels <- paste0(prefix, "_", seq_len(n_groups))
  factor(sample(rep_len(labels, n)), levels = labels)
}

# The genes' fractions of the counts in each type: genes x types.
type_fractions <- function(n_genes, n_types, n_markers, fold) {
  base <- exp(stats::rnorm(n_genes, 0, 1.6))
  means <- matrix(base, n_genes, n_types)
  markers <- sample.int(n_genes, n_types * n_markers)
  type <- rep(seq_len(n_types), each = n_markers)
  # Markers start from the upper middle of all genes, so that they can be seen at all.
  start <- stats::quantile(base, stats::runif(length(markers), 0.5, 0.9))
  means[markers, ] <- start
  means[cbind(markers, type)] <- fold * start
  list(means = means, markers = markers)
}

# Drawn cell by cell in pieces, so that no dense matrix of all cells is ever made.
draw_counts <- function(means, effect, type, batch, depth, dispersion) {
  pieces <- split(seq_along(depth), (seq_along(depth) - 1) %/% 500)
  parts <- lapply(pieces, function(cells) {
    mu <- means[, type[cells], drop = FALSE] * effect[, batch[cells], drop = FALSE]
    mu <- sweep(mu, 2, depth[cells] / colSums(mu), "*")
    drawn <- stats::rnbinom(length(mu), size = dispersion, mu = mu)
    as(matrix(as.double(drawn), nrow(mu)), "CsparseMatrix")
  })
  Reduce(cbind, parts)
}

# Restores R's random numbers when the caller returns. withr has the same, but would be one more
# package that everybody has to install.
keep_random_state <- function(frame = parent.frame()) {
  env <- globalenv()
  state <- env$.Random.seed
  restore <- function() {
    if (is.null(state)) {
      suppressWarnings(rm(".Random.seed", envir = env))
    } else {
      assign(".Random.seed", state, envir = env)
    }
  }
  do.call("on.exit", list(as.call(list(restore)), add = TRUE), envir = frame)
  invisible()
}
