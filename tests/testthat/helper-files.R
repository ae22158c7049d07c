# Small files of the kinds that are read.

small_counts <- function() sim_small()$counts[1:60, 1:40]

# A folder of 10x Genomics: of version 3 packed, with types of features, of version 2 without.
write_mex <- function(counts, folder, version = 3, types = NULL) {
  dir.create(folder)
  at <- function(name) file.path(folder, name)
  put <- function(lines, name) {
    connection <- if (version == 3) gzfile(at(paste0(name, ".gz"))) else file(at(name))
    writeLines(lines, connection)
    close(connection)
  }
  matrix <- at("whole.mtx")
  invisible(Matrix::writeMM(counts, matrix))
  put(readLines(matrix), "matrix.mtx")
  unlink(matrix)
  put(colnames(counts), "barcodes.tsv")
  ids <- sprintf("ENSG%05d", seq_len(nrow(counts)))
  types <- if (version == 3) types %||% rep("Gene Expression", nrow(counts))
  columns <- list(ids, rownames(counts), types)
  rows <- do.call(paste, c(columns[lengths(columns) > 0], sep = "\t"))
  put(rows, if (version == 3) "features.tsv" else "genes.tsv")
  folder
}

# As CellRanger 3 writes it.
write_10x <- function(counts, path) {
  rhdf5::h5createFile(path)
  for (group in c("matrix", "matrix/features")) rhdf5::h5createGroup(path, group)
  n <- nrow(counts)
  datasets <- list(
    indptr = counts@p, indices = counts@i, data = as.integer(counts@x), shape = dim(counts),
    barcodes = colnames(counts), "features/id" = sprintf("ENSG%05d", seq_len(n)),
    "features/name" = rownames(counts), "features/feature_type" = rep("Gene Expression", n)
  )
  for (name in names(datasets)) {
    rhdf5::h5write(datasets[[name]], path, paste0("matrix/", name))
  }
  rhdf5::h5closeAll()
  path
}

write_attributes <- function(path, place, ...) {
  file <- rhdf5::H5Fopen(path)
  at <- rhdf5::H5Oopen(file, place)
  values <- list(...)
  for (name in names(values)) {
    scalar <- length(values[[name]]) == 1 && is.character(values[[name]])
    rhdf5::h5writeAttribute(
      values[[name]], at, name,
      asScalar = scalar, variableLengthString = is.character(values[[name]])
    )
  }
  rhdf5::H5Oclose(at)
  rhdf5::H5Fclose(file)
}

write_csr <- function(counts, path, place) {
  rhdf5::h5createGroup(path, place)
  rhdf5::h5write(counts@p, path, paste0(place, "/indptr"))
  rhdf5::h5write(counts@i, path, paste0(place, "/indices"))
  rhdf5::h5write(counts@x, path, paste0(place, "/data"))
  write_attributes(
    path, place,
    "encoding-type" = "csr_matrix", "encoding-version" = "0.1.0", shape = rev(dim(counts))
  )
}

# An .h5ad file of a dgCMatrix, genes x cells, as are the layers; `obs` and `var` are plain columns.
write_h5ad <- function(counts, path, obs = list(), var = list(), layers = list()) {
  rhdf5::h5createFile(path)
  write_csr(counts, path, "X")
  tables <- list(
    obs = c(list("_index" = colnames(counts)), obs), var = c(list("_index" = rownames(counts)), var)
  )
  for (table in names(tables)) {
    rhdf5::h5createGroup(path, table)
    columns <- tables[[table]]
    for (name in names(columns)) {
      rhdf5::h5write(columns[[name]], path, paste0(table, "/", name))
    }
    write_attributes(
      path, table,
      "encoding-type" = "dataframe", "encoding-version" = "0.2.0", "_index" = "_index",
      "column-order" = if (length(columns) > 1) names(columns)[-1] else numeric()
    )
  }
  if (length(layers) > 0) {
    rhdf5::h5createGroup(path, "layers")
    for (name in names(layers)) write_csr(layers[[name]], path, paste0("layers/", name))
  }
  write_attributes(path, "/", "encoding-type" = "anndata", "encoding-version" = "0.1.0")
  rhdf5::h5closeAll()
  path
}

# A .loom file, whose matrix is genes x cells in HDF5 and thus cells x genes for rhdf5.
write_loom <- function(counts, path, cells = list(), genes = list()) {
  rhdf5::h5createFile(path)
  rhdf5::h5write(t(as.matrix(counts)), path, "matrix")
  attributes <- list(
    col_attrs = c(list(CellID = colnames(counts)), cells),
    row_attrs = c(list(Gene = rownames(counts)), genes)
  )
  for (group in names(attributes)) {
    rhdf5::h5createGroup(path, group)
    for (name in names(attributes[[group]])) {
      rhdf5::h5write(attributes[[group]][[name]], path, paste0(group, "/", name))
    }
  }
  rhdf5::h5closeAll()
  path
}
