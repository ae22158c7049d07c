# Matrices of DelayedArray, such as those in HDF5 files, are read by blocks of columns, so that
# little more memory is needed than the dgCMatrix takes that they become.

delayed_dgc <- function(x) {
  starts <- seq(1, max(1, ncol(x)), by = block_width(x))
  ends <- c(starts[-1] - 1, ncol(x))
  rows <- values <- sizes <- vector("list", length(starts))
  for (i in seq_along(starts)) {
    block <- read_columns(x, starts[i] - 1 + seq_len(ends[i] - starts[i] + 1))
    rows[[i]] <- slot(block, "i")
    values[[i]] <- compact(slot(block, "x"))
    sizes[[i]] <- diff(slot(block, "p"))
  }
  sizes <- as.double(unlist(sizes))
  if (sum(sizes) > .Machine$integer.max) {
    stop("There are more than ", .Machine$integer.max, " counts above zero.")
  }
  # What is bound together is let go before the next is made.
  rm(block)
  rows <- as.integer(unlist(rows))
  bound <- numeric(sum(sizes))
  done <- 0
  for (i in seq_along(values)) {
    bound[done + seq_along(values[[i]])] <- values[[i]]
    done <- done + length(values[[i]])
    values[i] <- list(NULL)
  }
  methods::new(
    "dgCMatrix",
    i = rows, p = as.integer(c(0, cumsum(sizes))), x = bound,
    Dim = as.integer(dim(x)), Dimnames = dimnames(x) %||% list(NULL, NULL)
  )
}

# Columns that are read at once: 80 MB if all values are held, and whole chunks of the file, which
# would otherwise be read twice.
block_values <- 1e7

block_width <- function(x) {
  width <- max(1, floor(block_values / max(1, nrow(x))))
  chunk <- DelayedArray::chunkdim(x)[2]
  if (isTRUE(chunk <= width)) width - width %% chunk else width
}

read_columns <- function(x, columns) {
  exported <- getNamespaceExports("DelayedArray")
  # Before the package SparseArray took this over, as() made sparse blocks dense.
  if ("extract_sparse_array" %in% exported && DelayedArray::is_sparse(x)) {
    extract <- getExportedValue("DelayedArray", "extract_sparse_array")
    return(as(extract(x, list(NULL, columns)), "dgCMatrix"))
  }
  as(x[, columns, drop = FALSE], "dgCMatrix")
}

# Counts are whole numbers, which take half the space until the end.
compact <- function(values) {
  whole <- isTRUE(all(abs(values) <= .Machine$integer.max & values == trunc(values)))
  if (whole) as.integer(values) else values
}
