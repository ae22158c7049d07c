# Any input becomes one handle on the counts, genes x cells, before anything else happens.
#
# A handle holds `data` (a dgCMatrix that Rust reads in place, or the pointer to counts that Rust
# read from a file), the names, `column()`, which gives a column of the cells' annotation, `notes`,
# messages of what was decided about a file, and `has_names`, FALSE where names had to be made up.

new_counts <- function(data, gene_names, cell_names, columns = character(),
                       column = function(name) NULL, hidden_columns = character(),
                       call = rlang::caller_env()) {
  n_genes <- length(gene_names)
  n_cells <- length(cell_names)
  if (n_cells < 1 || n_genes < 2) {
    abort_scvae(
      c(
        "The counts must have at least 1 cell and 2 genes, not {n_cells} cell{?s} and \\
         {n_genes} gene{?s}.",
        i = "Genes are rows and cells are columns; see {.arg transposed}."
      ),
      "counts",
      call
    )
  }
  structure(
    list(
      data = data,
      gene_names = check_names(gene_names, "gene", call),
      cell_names = check_names(cell_names, "cell", call),
      n_genes = n_genes,
      n_cells = n_cells,
      columns = columns,
      hidden_columns = hidden_columns,
      column = column
    ),
    class = "scvae_counts"
  )
}

# Internal generic. `call` is the user's call, for messages.
as_counts <- function(x, ..., call = rlang::caller_env()) {
  check_named(dots_names(...), call)
  UseMethod("as_counts")
}

# Stops if there is an argument that the kind of input does not have.
refuse_dots <- function(own, ..., call) {
  unknown <- setdiff(dots_names(...), own)
  if (length(unknown) == 0) {
    return(invisible())
  }
  first <- unknown[1]
  known <- c(
    own, setting_names(), option_names(), "batch", "seed", "verbose", "null", "BPPARAM"
  )
  if (is.null(own_name(first, known))) {
    abort_scvae(
      c(
        "{.arg {first}} is not a known argument for this kind of input.",
        i = if (length(own)) "Its arguments are {.arg {own}}." else "It takes none."
      ),
      "argument",
      call
    )
  }
  check_known_arguments(unknown, known, call)
  abort_scvae(
    "{.arg {first}} cannot be given here, or it is given twice.",
    "argument",
    call
  )
}

as_counts.default <- function(x, ..., call = rlang::caller_env()) {
  kind <- class(x)[1]
  hint <- if (is.data.frame(x)) {
    "Convert it with {.code as.matrix()}, genes in rows and cells in columns."
  } else if (inherits(x, "MultiAssayExperiment")) {
    "Give one of its experiments, such as {.code x[[1]]}."
  } else {
    "Give a matrix, a {.cls dgCMatrix}, a Seurat or SingleCellExperiment object, or the path of \\
     an {.file .h5ad}, 10x {.file .h5} or {.file .loom} file or of a 10x folder."
  }
  abort_scvae(c("{.arg x} of class {.cls {kind}} is not supported.", i = hint), "argument", call)
}

as_counts.scvae_counts <- function(x, ..., call = rlang::caller_env()) {
  refuse_dots(character(), ..., call = call)
  x
}

# Matrices ---------------------------------------------------------------------------------------

as_counts.matrix <- function(x, transposed = FALSE, ..., call = rlang::caller_env()) {
  refuse_dots("transposed", ..., call = call)
  if (!is.numeric(x) && !is.logical(x)) {
    kind <- typeof(x)
    abort_scvae(
      c("{.arg x} must hold numbers, not {.cls {kind}}.", i = "Give the matrix of raw counts."),
      "counts",
      call
    )
  }
  storage.mode(x) <- "double"
  matrix_counts(x, transposed, call)
}

as_counts.Matrix <- function(x, transposed = FALSE, ..., call = rlang::caller_env()) {
  refuse_dots("transposed", ..., call = call)
  matrix_counts(x, transposed, call)
}

# DelayedArray, HDF5Array and their kin.
as_counts.DelayedMatrix <- function(x, transposed = FALSE, ..., call = rlang::caller_env()) {
  refuse_dots("transposed", ..., call = call)
  matrix_counts(x, transposed, call)
}

# SparseArray.
as_counts.SparseMatrix <- function(x, # nolint: object_name_linter.
                                   transposed = FALSE, ..., call = rlang::caller_env()) {
  refuse_dots("transposed", ..., call = call)
  matrix_counts(x, transposed, call)
}

# BPCells.
as_counts.IterableMatrix <- function(x, transposed = FALSE, ..., call = rlang::caller_env()) {
  refuse_dots("transposed", ..., call = call)
  matrix_counts(x, transposed, call)
}

matrix_counts <- function(x, transposed, call) {
  check_flag(transposed, "transposed", call)
  x <- as_dgc(x, call)
  if (transposed) {
    x <- Matrix::t(x)
  }
  check_orientation(rownames(x), colnames(x), transposed, call)
  names <- default_names(dim(x), dimnames(x))
  out <- new_counts(x, names$genes, names$cells, call = call)
  out$has_names <- !is.null(colnames(x))
  out
}

# Stops when the cells have the names of genes and the genes have not.
check_orientation <- function(genes, cells, transposed, call) {
  # No annotation has so many genes.
  if (length(cells) > 2e5 || !has_gene_names(cells) || has_gene_names(genes)) {
    return(invisible())
  }
  abort_scvae(
    c(
      "The cells have names of genes, such as {.val {gene_like(cells)[1]}}: the counts seem to \\
       have cells in rows and genes in columns.",
      i = if (transposed) {
        "Leave {.arg transposed} out: genes are in rows already."
      } else {
        "Genes are rows and cells are columns here: give {.code transposed = TRUE}, or transpose \\
         the counts with {.code t()}."
      }
    ),
    "counts",
    call
  )
}

# Identifiers of Ensembl, and names that genes have in human, mouse and most other vertebrates:
# mitochondrial and ribosomal ones. Hardly any cell, sample or barcode is called so.
gene_like <- function(names) {
  ensembl <- "^ENS[A-Z]{0,4}G[0-9]{9,}"
  mitochondrial <- "^MT[-.](ND[0-9]|CO[0-9123]|CYB|CYTB|ATP[68])"
  ribosomal <- "^RP[LS][0-9]+[AXYL]*[0-9]*$"
  pattern <- paste(ensembl, mitochondrial, ribosomal, sep = "|")
  grep(pattern, names, ignore.case = TRUE, value = TRUE)
}

has_gene_names <- function(names) length(gene_like(names)) >= 3

default_names <- function(dim, dimnames) {
  list(
    genes = dimnames[[1]] %||% sprintf("gene%d", seq_len(dim[1])),
    cells = dimnames[[2]] %||% sprintf("cell%d", seq_len(dim[2]))
  )
}

# A dgCMatrix stays as it is, without a copy; every other class is converted.
as_dgc <- function(x, call) {
  if (inherits(x, "dgCMatrix")) {
    return(x)
  }
  if (inherits(x, "IterableMatrix")) {
    return(dgc_by_columns(x, call))
  }
  convert_dgc(x, call)
}

# Columns of BPCells' matrices, which lie in files, that are read at once.
columns_per_block <- 5000L

# A block of columns after the other becomes sparse, so that beside the result there is never more
# than a block.
dgc_by_columns <- function(x, call, per_block = columns_per_block) {
  starts <- seq(1, by = per_block, length.out = ceiling(ncol(x) / per_block))
  blocks <- lapply(starts, function(start) {
    columns <- start:min(start + per_block - 1, ncol(x))
    convert_dgc(x[, columns, drop = FALSE], call)
  })
  entries <- as.numeric(unlist(lapply(blocks, function(block) diff(block@p))))
  if (sum(entries) > .Machine$integer.max) {
    abort_scvae(
      c(
        "The counts have more than {.Machine$integer.max} entries that are not zero, which a \\
         {.cls dgCMatrix} cannot hold.",
        i = "Write them to an {.file .h5ad} file and give its path: files are read without R."
      ),
      "counts",
      call
    )
  }
  methods::new(
    "dgCMatrix",
    i = unlist(lapply(blocks, slot, "i")), p = as.integer(c(0, cumsum(entries))),
    x = unlist(lapply(blocks, slot, "x")), Dim = dim(x),
    Dimnames = dimnames(x) %||% list(NULL, NULL)
  )
}

convert_dgc <- function(x, call) {
  tryCatch(
    {
      package <- attr(class(x), "package")
      if (is.character(package)) {
        # The package that knows how to convert its class.
        requireNamespace(package, quietly = TRUE)
      }
      if (is.matrix(x) || inherits(x, "Matrix")) {
        as(as(as(x, "dMatrix"), "generalMatrix"), "CsparseMatrix")
      } else if (inherits(x, "DelayedMatrix")) {
        delayed_dgc(x)
      } else {
        as(x, "dgCMatrix")
      }
    },
    error = function(e) {
      kind <- class(x)[1]
      reason <- conditionMessage(e)
      abort_scvae(
        c(
          "Counts of class {.cls {kind}} cannot be converted to a {.cls dgCMatrix}.",
          x = "{reason}",
          i = "Convert them with {.code as(x, \"dgCMatrix\")}."
        ),
        "counts",
        call
      )
    }
  )
}

# Files ------------------------------------------------------------------------------------------

as_counts.character <- function(x, layer = NULL, feature_types = NULL, ...,
                                call = rlang::caller_env()) {
  refuse_dots(c("layer", "feature_types"), ..., call = call)
  read <- read_file(x, layer, feature_types, annotation = FALSE, "x", call)
  path <- read$path
  out <- new_counts(
    read$handle, make.unique(read$gene_names), make.unique(read$cell_names),
    columns = if (read$annotates_cells) rust_call(rs_obs_columns(path), call) else character(),
    column = function(name) rust_call(rs_read_obs(path, name), call),
    call = call
  )
  out$notes <- c(file_notes(read), name_notes(read))
  out
}

# What was decided about a file that its user did not say.
say_notes <- function(counts, verbose) {
  if (verbose && length(counts$notes) > 0) {
    cli::cli_inform(counts$notes)
  }
}

# Bioconductor -----------------------------------------------------------------------------------

as_counts.SummarizedExperiment <- function(x, assay.type = "counts", altexp = NULL,
                                           subset_row = NULL, ..., call = rlang::caller_env()) {
  refuse_dots(c("assay.type", "altexp", "subset_row"), ..., call = call)
  need_package("SummarizedExperiment", "for this class", call)
  col_data <- SummarizedExperiment::colData(x)
  cell_names <- colnames(x)
  x <- choose_altexp(x, altexp, call)
  counts <- choose_assay(x, assay.type, call)
  dimnames(counts) <- list(rownames(x), cell_names)
  if (!is.null(subset_row)) {
    # The order of the genes is that of `x`, whatever the order of `subset_row`.
    names <- default_names(dim(counts), dimnames(counts))$genes
    # Before `[`, which would wrap the error.
    kept <- sort(unique(choose_index(as.vector(subset_row), names, "subset_row", call)))
    counts <- counts[kept, , drop = FALSE]
  }
  out <- matrix_counts(counts, transposed = FALSE, call)
  out$columns <- colnames(col_data)
  out$column <- function(name) col_data[[name]]
  out$source <- list(assay.type = assay.type, altexp = altexp)
  out
}

choose_altexp <- function(x, altexp, call) {
  if (is.null(altexp)) {
    return(x)
  }
  check_string(altexp, "altexp", call = call)
  known <- if (is(x, "SingleCellExperiment")) SingleCellExperiment::altExpNames(x) else character()
  if (!altexp %in% known) {
    abort_scvae(
      c(
        "There is no alternative experiment {.val {altexp}}.",
        i = if (length(known)) "There is {.val {known}}." else "{.arg x} has none."
      ),
      "argument",
      call
    )
  }
  SingleCellExperiment::altExp(x, altexp)
}

choose_assay <- function(x, assay.type, call) {
  known <- SummarizedExperiment::assayNames(x)
  if (is.numeric(assay.type) && length(assay.type) == 1) {
    count <- length(SummarizedExperiment::assays(x))
    check_number(assay.type, "assay.type", min = 1, max = count, whole = TRUE, call = call)
  } else {
    check_string(assay.type, "assay.type", call = call)
    if (!assay.type %in% known) {
      abort_scvae(
        c(
          "There is no assay {.val {assay.type}} in {.arg x}.",
          i = if (length(known)) "There is {.val {known}}." else "Its assays have no names."
        ),
        "argument",
        call
      )
    }
  }
  SummarizedExperiment::assay(x, assay.type, withDimnames = FALSE)
}
