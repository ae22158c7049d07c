# BPCells is not where this is tested: a class of its name stands for its matrices. It gives blocks
# of columns only, and keeps in mind how many it was asked for at once.
asked <- new.env()

if (!methods::isClass("IterableMatrix")) {
  here <- environment()
  methods::setClass("IterableMatrix", slots = c(values = "dgCMatrix"), where = here)
  methods::setMethod("dim", "IterableMatrix", function(x) dim(x@values), where = here)
  methods::setMethod("dimnames", "IterableMatrix", function(x) dimnames(x@values), where = here)
  methods::setMethod("dimnames<-", "IterableMatrix", function(x, value) {
    dimnames(x@values) <- value
    x
  }, where = here)
  methods::setMethod("[", "IterableMatrix", function(x, i, j, ..., drop = FALSE) {
    values <- x@values
    if (!missing(i)) values <- values[i, , drop = FALSE]
    if (!missing(j)) values <- values[, j, drop = FALSE]
    methods::new("IterableMatrix", values = values)
  }, where = here)
  methods::setAs("IterableMatrix", "dgCMatrix", function(from) {
    asked$columns <- c(asked$columns, ncol(from))
    from@values
  }, where = here)
  methods::setMethod("as.matrix", "IterableMatrix", function(x, ...) stop("dense"), where = here)
}

on_disk <- function(counts) methods::new("IterableMatrix", values = counts)

in_blocks_of <- function(n, envir = parent.frame()) {
  asked$columns <- NULL
  replace_in_package("columns_per_block", n, envir)
}

test_that("matrices on disk are read by blocks of columns, and the fit is the same", {
  counts <- sim_small()$counts
  in_blocks_of(70L)
  read <- as_counts(on_disk(counts))
  expect_identical(read$data, counts)
  expect_identical(asked$columns, c(70L, 70L, 70L, 70L, 20L))
  expect_identical(
    result_of(quick_fit(on_disk(counts), seed = 1)), result_of(quick_fit(counts, seed = 1))
  )
  expect_lte(max(asked$columns), 70)
  # One block is enough.
  in_blocks_of(5000L)
  expect_identical(as_counts(on_disk(counts[, 1:5]))$data, counts[, 1:5])
})

test_that("values on disk that are no counts are refused", {
  counts <- sim_small()$counts
  counts@x <- log1p(counts@x)
  expect_error(quick_fit(on_disk(counts)), class = "scvae_error_counts")
})

test_that("layers on disk are joined by blocks", {
  skip_if_not_installed("SeuratObject", "5.0.0")
  sim <- sim_small()
  counts <- sim$counts
  rownames(counts) <- gsub("_", "-", rownames(counts))
  batch <- as.character(sim$batch)
  assay <- SeuratObject::CreateAssay5Object(on_disk(counts))
  expect_s4_class(SeuratObject::LayerData(assay, layer = "counts"), "IterableMatrix")
  in_blocks_of(40L)
  expect_identical(as_counts(assay)$data, counts)
  split <- split(assay, f = batch)
  expect_s4_class(SeuratObject::LayerData(split, layer = "counts.batch_1"), "IterableMatrix")
  fitted <- do.call(RunSCVAE, c(list(split, batch = "layers"), quick()))
  expect_lte(max(asked$columns), 40)
  expected <- quick_fit(counts, batch = batch, seed = 42)
  expect_identical(result_of(scvaeModel(fitted)), result_of(expected))
})
