# readCounts(): counts in a file, with what is known of their cells and genes, as an object of R.

#' Read counts and annotation from a file
#'
#' Reads raw counts with the annotation of cells and genes from the kinds of file that they come
#' in. Nothing but compiled code is needed, no Python. To fit a model the path itself will do:
#' `fitSCVAE("counts.h5ad")` reads the same counts, without the copy that an object of R needs.
#'
#' @section Which counts:
#' An `.h5ad` file may hold several matrices: `X`, the layers, and `raw` with genes of its own. The
#' counts are found by looking at values of each, in this order: `X`; layers that are called
#' `counts`, `raw_counts`, `umi` or much like it; `raw`; another layer, if it is the only one of
#' whole numbers. A message says which one was taken and what was passed over. `layer` names one
#' instead. The same holds for the layers of a `.loom` file, whose main matrix is called `matrix`.
#'
#' 10x Genomics files may hold antibodies, guides or peaks beside the genes. Only features of type
#' `"Gene Expression"` are kept, as the others follow other distributions; a message says how many
#' of which type were left out.
#'
#' @section Names and annotation:
#' Genes of 10x Genomics and `.loom` files are called by their symbols, made unique as
#' [make.unique()] does; their identifiers are the column `gene_ids` (`Accession` in a `.loom`
#' file). Names of cells or genes that occur more than once in an `.h5ad` file are made unique, too,
#' with a message. Categories become factors with their levels and order, numbers keep their
#' precision (whole numbers above 2^53 become text), and values that are missing are NA. Columns of
#' a kind that R has not are left out, with a message.
#'
#' @param path The path of
#'   * an `.h5ad` file (anndata);
#'   * a 10x Genomics `.h5` file, of CellRanger 2 or later;
#'   * a folder with `matrix.mtx`, `barcodes.tsv` and `features.tsv` or `genes.tsv`, each packed
#'     with gzip (`.gz`) or not, as CellRanger and STARsolo write them; also with a common beginning
#'     of the files' names, as GEO has them. If a folder holds several such matrices, the path of
#'     one of them;
#'   * a `.loom` file.
#'
#'   Files are recognised by what is in them, not by their names.
#' @param as The class of the result: `"SingleCellExperiment"`, `"Seurat"` or `"dgCMatrix"`.
#' @param layer Which matrix to read, see below; NULL: the one that holds counts. For files of
#'   CellRanger 2 with several genomes the name of the genome.
#' @param feature_types Which features to keep of 10x Genomics files, and of `.h5ad` files whose
#'   genes have a column `feature_types`: NULL for `"Gene Expression"` (all, if there are none of
#'   that type in an `.h5ad` file), `"all"`, or names of types such as `"Antibody Capture"`.
#' @param verbose Say what was read.
#' @return The counts, genes in rows and cells in columns, as
#'   * a SingleCellExperiment with the assay `counts`, the annotation of genes in `rowData()` and
#'     that of cells in `colData()`;
#'   * a Seurat object with the assay `RNA`, the annotation of cells in its meta data and that of
#'     genes in the assay's; Seurat changes underscores in names of genes to dashes;
#'   * a `dgCMatrix`, which has no place for annotation.
#'
#'   It is an error of class `scvae_error_file` if the path cannot be read as one of these kinds,
#'   and of class `scvae_error_counts` if values are no whole numbers or no matrix holds counts.
#' @seealso [fitSCVAE()], [writeResults()]
#' @examples
#' path <- system.file("extdata", "example.h5ad", package = "scVAE")
#' counts <- readCounts(path, as = "dgCMatrix")
#' if (requireNamespace("SingleCellExperiment", quietly = TRUE)) {
#'   readCounts(path)
#' }
#'
#' # A folder as CellRanger 2 writes it.
#' folder <- tempfile()
#' dir.create(folder)
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' invisible(Matrix::writeMM(sim$counts, file.path(folder, "matrix.mtx")))
#' writeLines(colnames(sim$counts), file.path(folder, "barcodes.tsv"))
#' writeLines(rownames(sim$counts), file.path(folder, "genes.tsv"))
#' identical(readCounts(folder, as = "dgCMatrix"), sim$counts)
#' @export
readCounts <- function(path, as = c("SingleCellExperiment", "Seurat", "dgCMatrix"), layer = NULL,
                       feature_types = NULL, verbose = TRUE) {
  call <- rlang::current_env()
  as <- check_choice(as, c("SingleCellExperiment", "Seurat", "dgCMatrix"), "as", call)
  check_flag(verbose, "verbose", call)
  switch(as,
    SingleCellExperiment = need_package("SingleCellExperiment", "for this class", call),
    Seurat = need_package("SeuratObject", "for this class", call)
  )
  read <- read_file(path, layer, feature_types, annotation = as != "dgCMatrix", "path", call)
  notes <- file_notes(read)
  counts <- counts_matrix(read, call)
  if (verbose) {
    cli::cli_inform(c(
      "Read {ncol(counts)} cell{?s} and {nrow(counts)} gene{?s} from {.file {path}}.",
      notes, name_notes(read), annotation_notes(read)
    ))
  }
  switch(as,
    SingleCellExperiment = as_sce(counts, read),
    Seurat = as_seurat(counts, read),
    dgCMatrix = counts
  )
}

# What Rust reads of a file, and its full path. `argument` is the one that named it.
read_file <- function(path, layer, feature_types, annotation, argument, call) {
  check_string(path, argument, call = call)
  check_string(layer, "layer", null_ok = TRUE, call = call)
  check_feature_types(feature_types, call)
  full <- path.expand(path)
  if (!file.exists(full)) {
    abort_scvae(
      c(
        "The file {.file {path}} does not exist.",
        i = "{.arg {argument}} must be the path of an {.file .h5ad}, 10x {.file .h5} or \\
             {.file .loom} file or of a 10x folder; the working directory is {.file {getwd()}}."
      ),
      "file",
      call
    )
  }
  full <- normalizePath(full)
  types <- feature_types
  if (identical(types, "Gene Expression")) {
    # The default, which files without types of features have nothing against.
    types <- NULL
  }
  c(rust_call(rs_read_counts(full, layer, types, annotation), call), path = full)
}

check_feature_types <- function(x, call) {
  ok <- is.null(x) || (is.character(x) && length(x) > 0 && !anyNA(x) && all(nzchar(x)))
  if (!ok || (length(x) > 1 && "all" %in% x)) {
    value <- describe(x)
    abort_scvae(
      c(
        "{.arg feature_types} must be NULL, {.val all} or names of types of features, not {value}.",
        i = "Leave it out to keep {.val Gene Expression} only."
      ),
      "argument",
      call
    )
  }
}

# Which matrix was taken, and which features; text for cli.
file_notes <- function(read) {
  notes <- character()
  passed_over <- read$passed_over
  if (length(passed_over) > 0) {
    why <- paste(names(passed_over), unlist(passed_over), collapse = ", ")
    notes <- sprintf("The counts are those of \"%s\": %s.", read$layer, why)
  } else if (length(read$layers) > 1) {
    others <- paste0("\"", setdiff(read$layers, read$layer), "\"", collapse = ", ")
    text <- "The counts are those of \"%s\"; `layer` could also be %s."
    notes <- sprintf(text, read$layer, others)
  }
  left_out <- unlist(read$left_out)
  if (length(left_out) > 0) {
    kinds <- sprintf("%s \"%s\"", format_number(left_out), names(left_out))
    notes <- c(notes, sprintf(
      "Features of other types were left out: %s. `feature_types` chooses.",
      paste(kinds, collapse = ", ")
    ))
  }
  notes <- escape_cli(notes)
  stats::setNames(notes, rep("i", length(notes)))
}

name_notes <- function(read) {
  twice <- c(cell = anyDuplicated(read$cell_names), gene = anyDuplicated(read$gene_names))
  twice <- names(twice)[twice > 0]
  if (length(twice) > 0) {
    c(i = sprintf("Names of %ss were made unique.", paste(twice, collapse = "s and ")))
  }
}

annotation_notes <- function(read) {
  tables <- list(cells = read$cells$left_out, genes = read$genes$left_out)
  tables <- tables[lengths(tables) > 0]
  notes <- Map(tables, names(tables), f = function(left_out, of) {
    text <- "Columns of the %s that cannot be read were left out: %s."
    escape_cli(sprintf(text, of, paste0("\"", names(left_out), "\"", collapse = ", ")))
  })
  stats::setNames(as.character(unlist(notes)), rep("!", length(notes)))
}

counts_matrix <- function(read, call) {
  slots <- rust_call(rs_counts_slots(read$handle), call)
  new(
    "dgCMatrix",
    p = slots$p, i = slots$i, x = slots$x, Dim = c(read$n_genes, read$n_cells),
    Dimnames = list(make.unique(read$gene_names), make.unique(read$cell_names))
  )
}

# Columns as R has them: Rust gives categories as codes and levels.
annotation_columns <- function(table) {
  lapply(table$columns, function(column) {
    if (!is.list(column)) {
      return(column)
    }
    kind <- c(if (column$ordered) "ordered", "factor")
    structure(column$codes, levels = column$levels, class = kind)
  })
}

as_sce <- function(counts, read) {
  frame <- function(table, names) {
    out <- S4Vectors::make_zero_col_DFrame(length(names))
    rownames(out) <- names
    columns <- annotation_columns(table)
    for (name in names(columns)) {
      out[[name]] <- columns[[name]]
    }
    out
  }
  SingleCellExperiment::SingleCellExperiment(
    list(counts = counts),
    rowData = frame(read$genes, rownames(counts)),
    colData = frame(read$cells, colnames(counts))
  )
}

as_seurat <- function(counts, read) {
  # Seurat takes no table without columns, which files of 10x Genomics give.
  cells <- if (length(read$cells$columns) > 0) {
    structure(
      annotation_columns(read$cells),
      class = "data.frame", row.names = colnames(counts)
    )
  }
  object <- SeuratObject::CreateSeuratObject(counts, meta.data = cells)
  assay <- object[["RNA"]]
  columns <- annotation_columns(read$genes)
  for (name in names(columns)) {
    assay[[name]] <- stats::setNames(columns[[name]], rownames(assay))
  }
  object[["RNA"]] <- assay
  object
}
