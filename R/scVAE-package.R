#' scVAE: sparsely connected variational autoencoder for single-cell RNA-seq counts
#'
#' Start with [fitSCVAE()] for matrices and files, [RunSCVAE()] for Seurat objects and [runSCVAE()]
#' for SingleCellExperiment objects. [scScore()] scores genes, [transferBatchStyle()] shows all
#' cells as if they came from one batch.
#'
#' @section Options:
#' * `scVAE.threads`: the number of threads that all functions use unless `threads` is given.
#'   Without it, all cores that this process may use are, at most as many as the environment
#'   variables `SLURM_CPUS_PER_TASK` and `OMP_THREAD_LIMIT` say, and at most two while `R CMD check`
#'   runs.
#' * `scVAE.tf32`: TRUE lets graphics cards round factors of products, see `device` of [fitSCVAE()].
#'
#' @section Conditions:
#' Every error has the class `scvae_error` and one of `scvae_error_argument` (an argument),
#' `scvae_error_counts` (the counts, the names or the batches), `scvae_error_file`,
#' `scvae_error_model` (a damaged model, or one that does not fit the data),
#' `scvae_error_numerical`, `scvae_error_package` (a suggested package is missing),
#' `scvae_error_worker` (another process died, again and again) and `scvae_error_internal`. Warnings
#' have the class `scvae_warning` and one of `scvae_warning_filtered`, `scvae_warning_batch`,
#' `scvae_warning_genes`, `scvae_warning_latent` (a fit that went astray), `scvae_warning_mapping`,
#' `scvae_warning_worker` (what another process was to do is done again), `scvae_warning_diverged`
#' (a loss that was no number any more) and `scvae_warning_interrupted`.
#'
#' @useDynLib scVAE, .registration = TRUE
#' @importClassesFrom Matrix dgCMatrix
#' @importFrom Matrix sparseMatrix t
#' @importFrom methods as is new setGeneric setMethod slot slot<-
#' @importFrom rlang .data %||%
#' @importFrom stats predict
#' @keywords internal
"_PACKAGE"
