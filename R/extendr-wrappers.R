# Generated from src/bridge by `make docs`: do not edit by hand.

#' @useDynLib scVAE, .registration = TRUE
#' @keywords internal
NULL

#' Versions of the crate and of what it stands on, and the optional parts it was built with.
#' @noRd
rs_version <- function() .Call(wrap__rs_version)

#' Devices that models can be trained on here, and why there is no graphics card among them.
#' @noRd
rs_devices <- function() .Call(wrap__rs_devices)

#' Whether graphics cards may round the factors of dense products to ten bits.
#' @noRd
rs_allow_tf32 <- function(allowed) .Call(wrap__rs_allow_tf32, allowed)

#' Threads that this process can run at once, by its affinity and its control group; 1 if that cannot be known.
#' @noRd
rs_available_threads <- function() .Call(wrap__rs_available_threads)

#' Places cells by several models together. The first model is returned with its part of their space.
#' `latent` holds each model's latent values of all cells; `trained` are the cells, from 1, that they were trained with.
#' @noRd
rs_consensus <- function(models, latent, trained, threads) .Call(wrap__rs_consensus, models, latent, trained, threads)

#' Reads counts from a file or folder. `feature_types`: `NULL` for gene expression, `"all"`, or types.
#' @noRd
rs_read_counts <- function(path, layer, feature_types, annotation) .Call(wrap__rs_read_counts, path, layer, feature_types, annotation)

#' The slots of a `dgCMatrix` of genes x cells from what `rs_read_counts` returned.
#' @noRd
rs_counts_slots <- function(handle) .Call(wrap__rs_counts_slots, handle)

#' One column that a file has of its cells, as strings.
#' @noRd
rs_read_obs <- function(path, column) .Call(wrap__rs_read_obs, path, column)

#' Names of the columns that a file has of its cells.
#' @noRd
rs_obs_columns <- function(path) .Call(wrap__rs_obs_columns, path)

#' Names of the cells and genes of an `.h5ad` file, and which of some places in it are taken.
#' @noRd
rs_h5ad_contents <- function(path, places) .Call(wrap__rs_h5ad_contents, path, places)

#' Adds entries to an `.h5ad` file: `obsm` is a named list of matrices, `var` one of numbers, `uns` one of anything. A
#' `NULL` in the first two removes what is there.
#' @noRd
rs_add_to_h5ad <- function(path, obsm, var, uns, overwrite) .Call(wrap__rs_add_to_h5ad, path, obsm, var, uns, overwrite)

#' Trains a model and embeds its cells. `keep_interrupted`: after one Ctrl-C return what was learned until then.
#' `checkpoint` is a folder or `NULL`.
#' @noRd
rs_fit <- function(counts, gene_names, batch, settings, checkpoint, checkpoint_every, expression, keep_interrupted, progress) .Call(wrap__rs_fit, counts, gene_names, batch, settings, checkpoint, checkpoint_every, expression, keep_interrupted, progress)

#' Goes on with a training from its last checkpoint in a folder.
#' @noRd
rs_resume <- function(counts, gene_names, batch, checkpoint, checkpoint_every, expression, threads, keep_interrupted, progress) .Call(wrap__rs_resume, counts, gene_names, batch, checkpoint, checkpoint_every, expression, threads, keep_interrupted, progress)

#' Trains models from other starts, side by side: the fits of this seed with these `numbers`, from 1. `checkpoints` is a
#' folder for each, or `NULL`; those that hold a training go on with it. Returns the fits that are whole.
#' @noRd
rs_fit_repeats <- function(counts, gene_names, batch, settings, numbers, checkpoints, checkpoint_every, expression, progress) .Call(wrap__rs_fit_repeats, counts, gene_names, batch, settings, numbers, checkpoints, checkpoint_every, expression, progress)

#' Whether a folder holds a checkpoint.
#' @noRd
rs_has_checkpoint <- function(folder) .Call(wrap__rs_has_checkpoint, folder)

#' What a checkpoint says of its training.
#' @noRd
rs_checkpoint_info <- function(checkpoint) .Call(wrap__rs_checkpoint_info, checkpoint)

#' Adds new batches to a model, trains what is theirs, and embeds their cells. As it takes seconds, Ctrl-C leaves nothing.
#' @noRd
rs_map <- function(model, counts, gene_position, batch, batch_names, settings, progress) .Call(wrap__rs_map, model, counts, gene_position, batch, batch_names, settings, progress)

#' Fits models and looks at their genes. `numbers` says which of the fits of this seed to make, from 1. `null`: with null
#' copies of genes, which come after the genes in what is returned. `checkpoint` is a folder that keeps the fits that are
#' done, or `NULL`; what is there is not made again.
#' @noRd
rs_score <- function(counts, gene_names, batch, settings, numbers, null, checkpoint, progress) .Call(wrap__rs_score, counts, gene_names, batch, settings, numbers, null, checkpoint, progress)

#' The seed of the repeated fits that a folder keeps, `NULL` if it keeps none.
#' @noRd
rs_score_seed <- function(checkpoint) .Call(wrap__rs_score_seed, checkpoint)

#' Which fits, by number from 1, a folder keeps.
#' @noRd
rs_scored <- function(checkpoint, numbers) .Call(wrap__rs_scored, checkpoint, numbers)

#' How likely genes without structure reach as much as each gene, by what null copies reach. `sources` is the gene of each
#' copy, from 1.
#' @noRd
rs_null_p_values <- function(genes, mean, copies, sources) .Call(wrap__rs_null_p_values, genes, mean, copies, sources)

#' Log-probability of counts under the model's distribution; arguments of one length.
#' @noRd
rs_log_probability <- function(counts, mu, px_r, px_dropout) .Call(wrap__rs_log_probability, counts, mu, px_r, px_dropout)

#' Embeds cells of known batches: in latent space, and in expression space if the model has one.
#' @noRd
rs_embed <- function(model, counts, gene_position, batch, threads) .Call(wrap__rs_embed, model, counts, gene_position, batch, threads)

#' Reconstructs chosen genes of chosen cells.
#' @noRd
rs_reconstruct <- function(model, counts, gene_position, cells, genes, batch, style, library, what, threads) .Call(wrap__rs_reconstruct, model, counts, gene_position, cells, genes, batch, style, library, what, threads)

#' Reads a model once for several calls: the functions that take a model's bytes take this, too.
#' @noRd
rs_load_model <- function(model) .Call(wrap__rs_load_model, model)

#' What a model needs to know of new counts: its genes and batches.
#' @noRd
rs_model_names <- function(model) .Call(wrap__rs_model_names, model)

#' What a saved model says of itself.
#' @noRd
rs_model_info <- function(model) .Call(wrap__rs_model_info, model)

#' Connections of chosen genes in every epoch, genes x epochs; no columns if they were not recorded.
#' @noRd
rs_epochs_connections <- function(model, genes) .Call(wrap__rs_epochs_connections, model, genes)

#' The settings that a fit has when none is given.
#' @noRd
rs_default_settings <- function() .Call(wrap__rs_default_settings)
