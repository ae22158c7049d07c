# Gene scores in Seurat objects.

#' Score the genes of a Seurat object
#'
#' Puts the scores of [scScore()] with the genes of the assay and, if asked, makes the most
#' informative ones its variable features. If the object has a model, from [RunSCVAE()], or scores
#' from before, these are used and nothing is fitted; arguments for fitting are then refused, unless
#' `refit = TRUE`.
#'
#' @param object A Seurat object.
#' @param n,threshold,fdr Which genes are informative, see [informativeGenes()]: at most `n`, with a
#'   score of at least `threshold`, with an FDR of at most `fdr`. `fdr` needs p-values, which a
#'   model alone has not.
#' @param set.variable Make the informative genes the `VariableFeatures()` of the assay.
#' @param assay,layer The assay and its layer with the raw counts, as in [RunSCVAE()].
#' @param refit Fit anew, also when scores are there.
#' @param seed.use The seed; NULL: drawn from R's random numbers.
#' @param verbose Show progress.
#' @param ... Further arguments of [scScore()] and [fitSCVAE()].
#' @return The object. Its assay has with the genes, in assays of version 5, the columns
#'   `vf_scscore_counts_score`, `_variable`, `_rank`, `_explained`, `_signal` and, if known, `_FDR`,
#'   so that `HVFInfo()` and `VariableFeatures()` work with `method = "scscore"`; what they give
#'   without `method` stays what it was. In assays of version 3 and 4 the columns are
#'   `scscore.score` and so on, to be had with `object[["RNA"]][["scscore.score"]]`: `HVFInfo()`
#'   knows its own methods only there. New scores are kept whole in
#'   `Misc(object[[assay]], "scscore")`, where `scScore(object)` finds them.
#' @seealso [scScore()], [informativeGenes()]
#' @examplesIf requireNamespace("SeuratObject", quietly = TRUE)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' object <- SeuratObject::CreateSeuratObject(sim$counts)
#' object <- FindInformativeFeatures(object,
#'   n = 50, set.variable = TRUE, n_repeats = 2, min_genes = 10, max_epochs = 2, n_hidden = 16,
#'   threads = 1, verbose = FALSE
#' )
#' head(SeuratObject::VariableFeatures(object))
#' @export
FindInformativeFeatures <- function(object, n = NULL, threshold = NULL, fdr = NULL,
                                    set.variable = FALSE, assay = NULL, layer = "counts",
                                    refit = FALSE, seed.use = 42, verbose = TRUE, ...) {
  call <- rlang::current_env()
  need_package("SeuratObject", "for Seurat objects", call)
  if (!inherits(object, "Seurat")) {
    value <- describe(object)
    abort_scvae(
      c(
        "{.arg object} must be a Seurat object, not {value}.",
        i = "Use {.fn scScore} and {.fn informativeGenes} for other counts."
      ),
      "argument",
      call
    )
  }
  check_flag(set.variable, "set.variable", call)
  check_flag(refit, "refit", call)
  check_string(layer, "layer", call = call)
  if (!is.null(seed.use)) {
    check_seed(seed.use, "seed.use", call)
  }
  # Those of FindVariableFeatures() come to mind.
  if ("nfeatures" %in% dots_names(...)) {
    abort_scvae(
      c("{.arg nfeatures} is called {.arg n} here.", i = "Give {.arg n}."), "argument", call
    )
  }
  assay <- seurat_assay(object, assay, call)
  stored <- if (!refit) stored_scores(object, NULL, assay)
  score <- if (is.null(stored)) {
    scScore.default(
      object,
      assay = assay, layer = layer, ..., seed = seed.use, verbose = verbose
    )
  } else {
    score_of_object(
      object, ...,
      name = NULL, verbose = verbose, assay = assay, arg = "object"
    )
  }
  chosen <- informativeGenes(score, threshold, n, fdr.threshold = fdr)
  own <- add_gene_scores(object[[assay]], score, layer, chosen)
  if (is.null(stored)) {
    # Misc() would warn of the scores that were there before.
    slot(own, "misc")$scscore <- score
  }
  if (set.variable) {
    SeuratObject::VariableFeatures(own) <- chosen
  }
  object[[assay]] <- own
  object
}

# The scores go to the assay's gene table, in the form that the version's VariableFeatures() and
# HVFInfo() know.
add_gene_scores <- function(assay, score, layer, chosen = informativeGenes(score)) {
  table <- data.frame(
    score = score$scscore,
    variable = rownames(score) %in% chosen,
    rank = match(rownames(score), chosen),
    explained = score$explained,
    signal = score$signal,
    row.names = rownames(score)
  )
  # Also where only scores of before had it, which must not stand beside these.
  if (!all(is.na(score$FDR)) || any(grepl("scscore.*FDR$", colnames(assay[[]])))) {
    table$FDR <- score$FDR
  }
  # Not by name: data frames take the beginning of a row's name for it, KIT for KITLG.
  table <- table[match(rownames(assay), rownames(table)), , drop = FALSE]
  rownames(table) <- rownames(assay)
  table$variable[is.na(table$variable)] <- FALSE
  of_version_5 <- inherits(assay, "StdAssay")
  prefixes <- if (of_version_5) {
    # Split layers need columns of their own to be found; the last serves when they are joined.
    paste0("vf_scscore_", unique(c(assay5_layers(assay, layer, NULL), layer)), "_")
  } else {
    "scscore."
  }
  for (prefix in prefixes) {
    for (column in names(table)) {
      assay[[paste0(prefix, column)]] <- stats::setNames(table[[column]], rownames(table))
    }
  }
  if (of_version_5) ours_first(assay) else assay
}

# HVFInfo() without a method takes the last one's columns: that is for FindVariableFeatures() to be.
ours_first <- function(assay) {
  meta <- slot(assay, "meta.data")
  ours <- startsWith(names(meta), "vf_scscore_")
  slot(assay, "meta.data") <- meta[c(which(ours), which(!ours))]
  assay
}
