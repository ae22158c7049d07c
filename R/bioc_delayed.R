# Matrices of DelayedArray, such as those in HDF5 files, are read by blocks of columns, so that
# little more memory is needed than the dgCMatrix takes that they become.

delayed_dgc <- function(x) {
  starts <- seq(1, max(1, ncol(x)), by = block_width(x))
  ends <- c(starts[-1] - 1, ncol(x))
  parts <- Map(
    function(start, end) compact_block(read_columns(x, start - 1 + seq_len(end - start + 1))),
    starts, ends
  )
  bind_blocks(parts, dim(x), dimnames(x))
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

# Row numbers, values and numbers of values of the columns. Counts are whole numbers, which take
# half the space until the end.
compact_block <- function(x) {
  values <- slot(x, "x")
  whole <- isTRUE(all(abs(values) <= .Machine$integer.max & values == trunc(values)))
  list(
    rows = slot(x, "i"),
    values = if (whole) as.integer(values) else values,
    sizes = diff(slot(x, "p"))
  )
}

bind_blocks <- function(parts, dim, dimnames) {
  sizes <- as.double(unlist(lapply(parts, `[[`, "sizes")))
  if (sum(sizes) > .Machine$integer.max) {
    stop("There are more than ", .Machine$integer.max, " counts above zero.")
  }
  rows <- lapply(parts, `[[`, "rows")
  values <- lapply(parts, `[[`, "values")
  # What is bound is let go before the next is made.
  rm(parts)
  rows <- as.integer(unlist(rows))
  all_values <- numeric(sum(sizes))
  done <- 0
  for (part in seq_along(values)) {
    here <- values[[part]]
    values[part] <- list(NULL)
    all_values[done + seq_along(here)] <- here
    done <- done + length(here)
  }
  methods::new(
    "dgCMatrix",
    i = rows, p = as.integer(c(0, cumsum(sizes))), x = all_values,
    Dim = as.integer(dim), Dimnames = dimnames %||% list(NULL, NULL)
  )
}
