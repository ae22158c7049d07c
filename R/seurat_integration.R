# SCVAEIntegration(): the method for Seurat's IntegrateLayers().

#' Integrate the layers of a Seurat assay with scVAE
#'
#' For the argument `method` of `Seurat::IntegrateLayers()` (Seurat 5): the layers that an assay was
#' split into are the batches of a fit to the raw **counts** of all genes. `JoinLayers()` can come
#' after it, as after other methods of integration.
#'
#' `IntegrateLayers()` hands over the normalised layers (`data.1`, `data.2`, ...), 2,000 variable
#' features and a reduction, as other methods need them. This one takes the counts that lie beside
#' these layers (`counts.1`, `counts.2`, ...), and all genes unless `features.use = "passed"`; it
#' needs no reduction, so `orig.reduction = NULL` will do, and neither normalisation nor variable
#' features or scaled data are used for the fit.
#'
#' The batches have the names that the assay was split by, so a `model` that was fitted to the
#' layers takes that column of the meta data as `batch` once they are joined. `IntegrateLayers()`
#' shows a method the assay, and no meta data: for batches from several columns use
#' [RunSCVAE()], which takes split assays, too.
#'
#' @param object An assay of version 5; `IntegrateLayers()` gives it.
#' @param assay Its name; `IntegrateLayers()` gives it.
#' @param orig,scale.layer Given by `IntegrateLayers()`, not used.
#' @param layers The layers to integrate, of counts or of normalised values; NULL: all.
#' @param features The variable features, which `IntegrateLayers()` gives; see `features.use`.
#' @param new.reduction,reduction.key Name and key of the new reduction.
#' @param batch `"layers"`: each layer is a batch; or a vector with the batch of each cell, best
#'   with the cells' names.
#' @param features.use `"all"` genes of the layers, or those `"passed"` as `features`.
#' @param ... Further arguments of [fitSCVAE()].
#' @inheritParams RunSCVAE
#' @return A named list of what `IntegrateLayers()` puts into the object: the reduction, the columns
#'   of the cells, and the assay with the genes' scores, as [RunSCVAE()] stores them. The model is
#'   `scvaeModel(object, new.reduction)`.
#' @seealso [RunSCVAE()], [MapSCVAE()], [transferBatchStyle()]
#' @examplesIf rlang::is_installed("Seurat", version = "5.0.0")
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' object <- SeuratObject::CreateSeuratObject(sim$counts)
#' object[["RNA"]] <- split(object[["RNA"]], f = sim$batch)
#' object <- Seurat::NormalizeData(object, verbose = FALSE)
#' object <- suppressWarnings(Seurat::FindVariableFeatures(object, verbose = FALSE))
#' object <- Seurat::IntegrateLayers(object,
#'   method = SCVAEIntegration, orig.reduction = NULL, new.reduction = "integrated.scvae",
#'   min_genes = 10, max_epochs = 2, n_hidden = 16, threads = 1, verbose = FALSE
#' )
#' object <- SeuratObject::JoinLayers(object)
#' scvaeModel(object)
#' @export
SCVAEIntegration <- function(object, assay = NULL, orig = NULL, layers = NULL, scale.layer = NULL,
                             features = NULL, new.reduction = "scvae", reduction.key = "SCVAE_",
                             batch = "layers", features.use = c("all", "passed"), seed.use = 42,
                             verbose = TRUE, ..., n_latent = 10, max_epochs = NULL, n_repeats = 1,
                             embedding = "auto", likelihood = "zinb", n_hidden = 128,
                             batch_size = 128, lr = 1e-3, early_stopping = FALSE, min_cells = 3,
                             min_genes = 200, filtered_cells = "embed", threads = NULL,
                             device = "auto") {
  call <- rlang::current_env()
  check_string(new.reduction, "new.reduction", call = call)
  features.use <- check_choice(features.use, c("all", "passed"), "features.use", call)
  check_flag(verbose, "verbose", call)
  # `orig` is never touched: without a reduction it is a promise that cannot be kept.
  fit <- dimreduc_arguments(given_settings(...), reduction.key, seed.use, call)
  check_layered_assay(object, call)
  assay <- assay_name(object, assay, call)
  layers <- counts_layers(object, layers, call)
  if (identical(batch, "layers")) {
    check_several_layers(layers, assay, call)
  }
  passed <- if (features.use == "passed") features
  counts <- layers_counts(object, layers, "counts", passed, call)
  if (verbose && is.null(passed) && length(features) > 0 && length(features) < counts$n_genes) {
    cli::cli_inform(
      c(
        i = "All {counts$n_genes} genes are used, not only {length(features)} variable features; \\
             {.code features.use = \"passed\"} would use these."
      ),
      .frequency = "once",
      .frequency_id = "scvae_integration_features"
    )
  }
  reduction <- run_dimreduc(counts, batch, assay, fit, verbose, call)
  seurat_results(reduction, new.reduction, object, "counts", colnames(object))
}
# By this Seurat lists the methods that IntegrateLayers() can be given.
attr(SCVAEIntegration, "Seurat.method") <- "integration" # nolint: object_name_linter.

check_layered_assay <- function(object, call) {
  if (inherits(object, "StdAssay")) {
    return(invisible())
  }
  if (inherits(object, "SCTAssay")) {
    # Says which assay to take.
    as_counts(object, call = call)
  }
  value <- describe(object)
  abort_scvae(
    c(
      "{.arg object} must be an assay of version 5, as {.fn IntegrateLayers} gives it, not \\
       {value}.",
      i = "Use {.fn RunSCVAE} with {.arg batch} for other assays and for Seurat objects."
    ),
    "argument",
    call
  )
}

# The counts that lie beside layers of normalised values.
counts_layers <- function(object, layers, call) {
  if (is.null(layers)) {
    return(assay5_layers(object, "counts", call))
  }
  known <- from_seurat5("Layers")(object)
  counts <- sub("^(scale\\.data|[^.]*)", "counts", layers)
  absent <- layers[!counts %in% known]
  if (length(absent) > 0) {
    abort_scvae(
      c(
        "There are no counts for the layer{?s} {.val {absent}}.",
        i = "The assay has the layers {.val {known}}; counts are looked for under the names \\
             {.val {setdiff(counts, known)}}."
      ),
      "counts",
      call
    )
  }
  unique(counts)
}

check_several_layers <- function(layers, assay, call) {
  if (length(layers) == 1) {
    abort_scvae(
      c(
        "There is one layer of counts, {.val {layers}}, so there are no batches to integrate.",
        i = "Split the assay first, for example \\
             {.code object[[\"{assay}\"]] <- split(object[[\"{assay}\"]], f = object$donor)}, or \\
             use {.code RunSCVAE(object, batch = \"donor\")}, which needs no layers."
      ),
      "argument",
      call
    )
  }
}
