# writeResults(): a model's results in the .h5ad file that its counts came from.

#' Add a model's results to an .h5ad file
#'
#' Puts the embedding of the cells, the scores of the genes and the settings and history of the fit
#' into an existing `.h5ad` file, where scanpy, anndata and anndataR find them. Nothing else in the
#' file is changed. No Python is needed.
#'
#' Cells and genes are matched by name. Cells of the file that the model was not fitted to, and
#' genes of the file that it does not know, get missing values (not-a-number); those that the file
#' does not have are left out. The genes are those of `var`, also if the model was fitted to `raw`.
#'
#' A copy is written in the same folder, so there must be room for one, and takes the file's place
#' when it is complete. If anything fails until then, the file is as it was. Close the file first
#' where it is open for writing (backed anndata, rhdf5, hdf5r): what is not in it yet would be lost.
#'
#' @section What is stored:
#' * `obsm[obsm]`: the embedding, cells x components or dimensions; if it is one in expression
#'   space, `obsm[obsm + "_latent"]` has the latent values;
#' * `var[scores]`: the [scScore()] of the genes; the same name with `_rank`, `_explained` and
#'   `_signal` has these columns of the score, and with `_p_value` and `_fdr` those of its test, if
#'   it was made;
#' * `uns[uns]`: a dictionary of the `settings`, the `history` with an array for each column, how
#'   the fit ended (`stopped`, `epochs`), the `batch_names`, the kind of `embedding`, and for
#'   expression space the `variance` and `variance_ratio` of its components.
#'
#' In Python: `adata.obsm["X_scvae"]`, `sc.pp.neighbors(adata, use_rep = "X_scvae")`,
#' `adata.var["scscore"]`, `pd.DataFrame(adata.uns["scvae"]["history"])`.
#'
#' @param model A model from [fitSCVAE()].
#' @param file The path of an `.h5ad` file, of anndata 0.7 or later.
#' @param obsm,scores,uns Names in the file, see below; NULL leaves that part out.
#' @param overwrite Replace entries of these names that the file has already.
#' @param verbose Say what was written.
#' @return The path, invisibly. It is an error of class `scvae_error_argument` if entries exist, and
#'   of class `scvae_error_file` if the file cannot be read or written.
#' @seealso [readCounts()], [saveSCVAE()] for the model itself
#' @examples
#' file <- tempfile(fileext = ".h5ad")
#' file.copy(system.file("extdata", "example.h5ad", package = "scVAE"), file)
#' model <- fitSCVAE(file,
#'   batch = "donor", min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1,
#'   verbose = FALSE
#' )
#' writeResults(model, file)
#' @export
writeResults <- function(model, file, obsm = "X_scvae", scores = "scscore", uns = "scvae",
                         overwrite = FALSE, verbose = TRUE) {
  call <- rlang::current_env()
  check_model(model, call)
  check_string(file, "file", call = call)
  check_flag(overwrite, "overwrite", call)
  check_flag(verbose, "verbose", call)
  check_entries(list(obsm = obsm, scores = scores, uns = uns), call)
  check_embedded(model, obsm, call)
  path <- path.expand(file)
  if (!file.exists(path) || dir.exists(path)) {
    abort_scvae(
      c(
        "{.file {file}} {missing_file(path)}.",
        i = "{.arg file} must be the path of an {.file .h5ad} file; the working directory is \\
             {.file {getwd()}}."
      ),
      "file",
      call
    )
  }
  path <- normalizePath(path)
  entries <- list(
    obsm = if (!is.null(obsm)) embedding_entries(model, obsm) else list(),
    var = if (!is.null(scores)) score_entries(model, scores) else list(),
    uns = if (!is.null(uns)) stats::setNames(list(fit_entry(model)), uns) else list()
  )
  places <- unlist(Map(entries, names(entries), f = function(entry, slot) {
    if (length(entry) > 0) paste0(slot, "/", names(entry))
  }), use.names = FALSE)
  contents <- rust_call(rs_h5ad_contents(path, places), call)
  refuse_taken(contents$taken, overwrite, file, call)
  if (!is.null(obsm)) {
    rows <- rows_in_file(contents$cell_names, model$cell_names, "cell", call)
    entries$obsm <- lapply(entries$obsm, function(x) unname(x[rows, , drop = FALSE]))
  }
  if (!is.null(scores)) {
    rows_genes <- rows_in_file(contents$gene_names, model$genes$gene, "gene", call)
    entries$var <- lapply(entries$var, function(x) as.double(x[rows_genes]))
  }
  if (overwrite) {
    entries <- without_earlier(entries, obsm, scores)
  }
  rust_call(rs_add_to_h5ad(path, entries$obsm, entries$var, entries$uns, overwrite), call)
  if (verbose) {
    found <- function(rows) sprintf("%d of the file's %d", sum(!is.na(rows)), length(rows))
    cli::cli_inform(c(
      "Results were written to {.file {file}}.",
      i = if (!is.null(obsm)) "Embedding in {.code obsm[\"{obsm}\"]}: {found(rows)} cells.",
      i = if (!is.null(scores)) {
        "Scores in {.code var[\"{scores}\"]}: {found(rows_genes)} genes."
      }
    ))
  }
  invisible(file)
}

check_entries <- function(names, call) {
  for (argument in names(names)) {
    name <- check_string(names[[argument]], argument, null_ok = TRUE, call = call)
    if (!is.null(name) && (grepl("/", name, fixed = TRUE) || name == ".")) {
      abort_scvae(
        c(
          "{.arg {argument}} must be a name without a slash, not {.val {name}}.",
          i = "It names an entry in the file."
        ),
        "argument",
        call
      )
    }
  }
  if (all(vapply(names, is.null, TRUE))) {
    abort_scvae(
      c(
        "{.arg obsm}, {.arg scores} and {.arg uns} are all NULL: there is nothing to write.",
        i = "Leave one of them out, and it has its default name."
      ),
      "argument",
      call
    )
  }
}

check_embedded <- function(model, obsm, call) {
  if (!is.null(obsm) && is.null(model$embedding)) {
    abort_scvae(
      c(
        "This model was read from a file, which does not hold the embedding of its cells.",
        i = "Write its scores and settings only, with {.code obsm = NULL}, or fit the model again."
      ),
      "argument",
      call
    )
  }
}

refuse_taken <- function(taken, overwrite, file, call) {
  if (length(taken) > 0 && !overwrite) {
    abort_scvae(
      c(
        "{.file {file}} has {.val {taken}} already.",
        i = "Replace {cli::qty(length(taken))}{?it/them} with {.code overwrite = TRUE}, or choose \\
             other names."
      ),
      "argument",
      call
    )
  }
}

# For each name of the file its number in the model, NA where there is none.
rows_in_file <- function(in_file, in_model, what, call) {
  in_file <- utf8_names(in_file, what, call)
  rows <- match(in_file, in_model)
  if (all(is.na(rows))) {
    first_file <- utils::head(in_file, 1)
    first_model <- in_model[1]
    abort_scvae(
      c(
        "None of the file's {what}s is one of the model's.",
        i = "The file has names such as {.val {first_file}}, the model {.val {first_model}}."
      ),
      "argument",
      call
    )
  }
  twice <- unique(in_file[!is.na(rows) & duplicated(in_file)])
  if (length(twice) > 0) {
    shown <- utils::head(twice, 3)
    table <- if (what == "cell") "obs" else "var"
    abort_scvae(
      c(
        "{length(twice)} name{?s} of {what}s {?occurs/occur} more than once in the file: \\
         {.val {shown}}.",
        i = "Make them unique there, with anndata's {.fn {table}_names_make_unique}."
      ),
      "argument",
      call
    )
  }
  rows
}

embedding_entries <- function(model, obsm) {
  entries <- stats::setNames(list(model$embedding), obsm)
  if (!is.null(model$components)) {
    entries[[paste0(obsm, "_latent")]] <- model$latent
  }
  entries
}

# What another model left beside that which is replaced goes, as NULL: two models must not mix.
without_earlier <- function(entries, obsm, scores) {
  add <- function(entries, names) {
    names <- setdiff(names, names(entries))
    c(entries, stats::setNames(vector("list", length(names)), names))
  }
  if (!is.null(obsm)) {
    entries$obsm <- add(entries$obsm, paste0(obsm, "_latent"))
  }
  if (!is.null(scores)) {
    entries$var <- add(entries$var, paste0(scores, score_columns))
  }
  entries
}

# What is added to the name of the scores.
score_columns <- c(
  scscore = "", rank = "_rank", explained = "_explained", signal = "_signal",
  p.value = "_p_value", FDR = "_fdr"
)

# Columns of the score by their names in the file, a value for each of the model's genes.
score_entries <- function(model, scores) {
  table <- scScore(model)
  known <- vapply(names(score_columns), function(column) !all(is.na(table[[column]])), TRUE)
  columns <- score_columns[known]
  stats::setNames(lapply(names(columns), function(column) table[[column]]), paste0(scores, columns))
}

# What is to be known of the fit. Arrays have a dimension, single values have none.
fit_entry <- function(model) {
  expression <- !is.null(model$components)
  single <- function(x) is.atomic(x) && length(x) == 1 && !is.factor(x)
  entry <- list(
    embedding = if (expression) "expression" else "latent",
    settings = Filter(single, as.list(model$settings)),
    history = lapply(as.list(model$history), function(x) array(as.double(x))),
    stopped = model$stopped,
    epochs = as.integer(model$epochs),
    version = rust_call(rs_version())$version
  )
  if (!is.null(model$batch_names)) {
    entry$batch_names <- array(model$batch_names)
  }
  if (expression) {
    variance <- unname(model$components$sd)^2
    entry$variance <- array(variance)
    entry$variance_ratio <- array(variance / model$components$total_variance)
  }
  entry
}
