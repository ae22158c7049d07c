# Classes that hold counts for Bioconductor: DelayedArrays and their files, SparseArrays, objects
# that extend SingleCellExperiment or hold one, run-length encoded columns.

skip_if_not_installed("SingleCellExperiment")
suppressPackageStartupMessages(requireNamespace("SingleCellExperiment"))

sce_of <- function(counts, ...) {
  SingleCellExperiment::SingleCellExperiment(list(counts = counts), ...)
}

run_quick <- function(x, ...) do.call(runSCVAE, c(list(x), quick(seed = 1, ...)))

as_dgc_of <- function(x) as_dgc(x, call = NULL)

# Matrices in files that hold the counts: a dense one in chunks, the same taken as a sparse one, and
# one that is stored sparse (HDF5Array 1.26 opens no second one of these in a process).
in_files <- function(counts, envir = parent.frame()) {
  skip_if_not_installed("HDF5Array")
  file <- function() withr::local_tempfile(fileext = ".h5", .local_envir = envir)
  dense <- HDF5Array::writeHDF5Array(
    as.matrix(counts), file(), "counts",
    chunkdim = c(50, 20), with.dimnames = TRUE
  )
  flagged <- HDF5Array::HDF5Array(DelayedArray::path(dense), "counts", as.sparse = TRUE)
  dimnames(flagged) <- dimnames(counts)
  stored <- if (utils::packageVersion("HDF5Array") >= "1.28") {
    HDF5Array::writeTENxMatrix(counts, file(), "counts")
  }
  Filter(Negate(is.null), list(dense = dense, flagged = flagged, stored = stored))
}

test_that("a matrix in a file is read by blocks of columns, whole chunks at once", {
  counts <- sim_small()$counts
  # Columns without counts, some of them a block of their own.
  counts[, c(1, 90:110, 300)] <- 0
  counts <- Matrix::drop0(counts)
  files <- in_files(counts)
  expect_identical(
    unname(vapply(files, DelayedArray::is_sparse, TRUE)), c(FALSE, TRUE, TRUE)[seq_along(files)]
  )
  for (x in files) {
    for (values in c(1, 7 * 500, 45 * 500, 1e7)) {
      replace_in_package("block_values", values)
      expect_identical(as_dgc_of(x), counts)
    }
    # Delayed operations on it: genes and cells chosen, in another order.
    replace_in_package("block_values", 45 * 500)
    expect_identical(as_dgc_of(x[200:101, c(5, 3, 250:280)]), counts[200:101, c(5, 3, 250:280)])
    expect_identical(as_dgc_of(t(x)), Matrix::t(counts))
    bare <- x
    dimnames(bare) <- NULL
    expect_identical(as_dgc_of(bare), unname(counts), ignore_attr = "Dimnames")
    expect_identical(slot(as_dgc_of(bare), "Dimnames"), list(NULL, NULL))
  }
  replace_in_package("block_values", 50 * 500)
  expect_identical(block_width(files$dense), 40)
  expect_identical(block_width(DelayedArray::DelayedArray(counts)), 50)
})

test_that("values that are no whole numbers, or none at all, pass unchanged through the blocks", {
  skip_if_not_installed("DelayedArray")
  counts <- sim_small()$counts
  replace_in_package("block_values", 20 * 500)
  for (bad in c(0.5, -1, 2^31, NA, Inf)) {
    x <- counts
    x[3, 70] <- bad
    expect_identical(as_dgc_of(DelayedArray::DelayedArray(x)), x)
  }
  none <- counts[, 0]
  expect_identical(dim(as_dgc_of(DelayedArray::DelayedArray(none))), c(500L, 0L))
  x <- counts
  x[3, 70] <- 0.5
  error <- expect_error(
    quick_fit(DelayedArray::DelayedArray(x), seed = 1),
    class = "scvae_error_counts"
  )
  expect_match(conditionMessage(error), "not a whole number")
})

test_that("objects with counts in a file give the same results", {
  sim <- sim_small()
  replace_in_package("block_values", 45 * 500)
  columns <- S4Vectors::DataFrame(donor = sim$batch)
  in_memory <- sce_of(sim$counts, colData = columns)
  expected <- run_quick(in_memory, batch = "donor", subset_row = 1:400)
  for (x in in_files(sim$counts)) {
    x <- sce_of(x, colData = columns)
    y <- run_quick(x, batch = "donor", subset_row = 1:400)
    expect_identical(result_of(scvaeModel(y)), result_of(scvaeModel(expected)))
    # The counts stay where they are.
    expect_s4_class(SummarizedExperiment::assay(y, "counts"), "DelayedMatrix")
    z <- x[1:10, ]
    SingleCellExperiment::altExp(z, "all") <- x
    z <- run_quick(z, batch = "donor", subset_row = 1:400, altexp = "all")
    expect_identical(result_of(scvaeModel(z)), result_of(scvaeModel(expected)))
  }
  cells <- split(seq_along(sim$batch), sim$batch)
  load_batchelor()
  param <- do.call(SCVAEParam, quick(seed = 1))
  out <- batchelor::batchCorrect(lapply(cells, function(i) x[, i]), PARAM = param)
  same <- batchelor::batchCorrect(lapply(cells, function(i) in_memory[, i]), PARAM = param)
  expect_identical(SummarizedExperiment::assay(out, 1), SummarizedExperiment::assay(same, 1))
})

test_that("counts of class SparseArray are taken", {
  skip_if_not_installed("SparseArray")
  counts <- sim_small()$counts
  x <- methods::as(counts, "SVT_SparseMatrix")
  expect_identical(as_dgc_of(x), counts)
  expect_identical(as_counts(t(x), transposed = TRUE)$data, counts)
  expected <- run_quick(sce_of(counts))
  expect_identical(result_of(scvaeModel(run_quick(sce_of(x)))), result_of(scvaeModel(expected)))
})

test_that("run-length encoded columns and vectors are batches and labels as others are", {
  sim <- sim_small()
  expected <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  run <- S4Vectors::Rle(as.character(sim$batch))
  of_factor <- S4Vectors::Rle(factor(sim$batch))
  for (column in list(run, of_factor)) {
    x <- sce_of(sim$counts, colData = S4Vectors::DataFrame(donor = column, type = sim$cell_type))
    expect_s4_class(x$donor, "Rle")
    from_column <- run_quick(x, batch = "donor")
    expect_identical(result_of(scvaeModel(from_column)), result_of(expected))
    from_vector <- run_quick(x, batch = column)
    expect_identical(result_of(scvaeModel(from_vector)), result_of(expected))
    several <- run_quick(x, batch = SummarizedExperiment::colData(x)["donor"])
    expect_identical(scvaeModel(several)$latent, expected$latent)
  }
  expect_error(run_quick(x, batch = run[-1]), "300", class = "scvae_error_argument")
})

# SpatialExperiment is not among the packages that the tests need: where it is absent, a class that
# extends SingleCellExperiment, as SpatialExperiment does, stands in for it.
spatial <- function(counts, batch) {
  coordinates <- matrix(seq_len(2 * ncol(counts)), ncol = 2)
  columns <- S4Vectors::DataFrame(donor = batch)
  if (rlang::is_installed("SpatialExperiment")) {
    make <- getExportedValue("SpatialExperiment", "SpatialExperiment")
    return(make(
      assays = list(counts = counts), colData = columns, spatialCoords = coordinates
    ))
  }
  methods::setClass(
    "StandInSpatial",
    contains = structure("SingleCellExperiment", package = "SingleCellExperiment"),
    slots = c(spatialCoords = "matrix"), where = globalenv()
  )
  methods::new("StandInSpatial", sce_of(counts, colData = columns), spatialCoords = coordinates)
}

test_that("objects that extend SingleCellExperiment stay what they are", {
  sim <- sim_small()
  x <- spatial(sim$counts, sim$batch)
  y <- run_quick(x, batch = "donor")
  expect_identical(class(y), class(x))
  if (methods::is(x, "StandInSpatial")) {
    expect_identical(methods::slot(y, "spatialCoords"), methods::slot(x, "spatialCoords"))
  } else {
    coordinates <- getExportedValue("SpatialExperiment", "spatialCoords")
    expect_identical(coordinates(y), coordinates(x))
  }
  expected <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_identical(SingleCellExperiment::reducedDim(y, "SCVAE"), expected$embedding)
  expect_identical(scvaeModel(y[, 3:9])$embedding, expected$embedding[3:9, ])
  expect_identical(
    do.call(calculateSCVAE, c(list(x, "donor"), quick(seed = 1)))[, ], expected$embedding
  )
})

test_that("elements of a MultiAssayExperiment are fitted one by one", {
  skip_if_not_installed("MultiAssayExperiment")
  sim <- sim_small()
  x <- sce_of(sim$counts, colData = S4Vectors::DataFrame(donor = sim$batch))
  mae <- MultiAssayExperiment::MultiAssayExperiment(list(rna = x, few = x[1:5, ]))
  mae[["rna"]] <- run_quick(mae[["rna"]], batch = "donor")
  expect_identical(
    SingleCellExperiment::reducedDim(mae[["rna"]], "SCVAE"),
    quick_fit(sim$counts, batch = sim$batch, seed = 1)$embedding
  )
  expect_identical(names(mae), c("rna", "few"))
  expect_s3_class(scvaeModel(mae[["rna"]]), "SCVAE")
  error <- expect_error(runSCVAE(mae), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "one of its experiments")
  error <- expect_error(calculateSCVAE(mae), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "one of its experiments")
})

test_that("the generics have the settings that are most used, with the defaults of fitSCVAE()", {
  for (generic in list(calculateSCVAE, runSCVAE)) {
    expect_s4_class(generic, "standardGeneric")
    given <- formals(generic)
    used <- c(
      "batch", "n_latent", "likelihood", "max_epochs", "embedding", "n_repeats", "seed", "threads",
      "verbose"
    )
    expect_identical(as.list(given)[used], as.list(formals(fitSCVAE))[used])
    shared <- intersect(names(given), names(formals(fitSCVAE)))
    expect_identical(as.list(given)[shared], as.list(formals(fitSCVAE))[shared])
  }
  x <- sce_of(sim_small()$counts)
  expect_error(runSCVAE(x, NULL, 5), "without a name", class = "scvae_error_argument")
  expect_error(runSCVAE(x, subset.row = 1:9), "subset_row", class = "scvae_error_argument")
  expect_error(runSCVAE(x, n_latent = 0), "n_latent", class = "scvae_error_argument")
})

test_that("other packages can add methods for classes of their own", {
  where <- new.env()
  methods::setClass("OwnCounts", slots = c(counts = "dgCMatrix"), where = where)
  method <- function() {
    calculateSCVAE(
      methods::slot(x, "counts"), batch, ...,
      n_latent = n_latent, max_epochs = max_epochs, seed = seed, verbose = verbose
    )
  }
  formals(method) <- formals(calculateSCVAE)
  methods::setMethod("calculateSCVAE", "OwnCounts", method, where = where)
  withr::defer({
    methods::removeMethod("calculateSCVAE", "OwnCounts", where = where)
    methods::removeClass("OwnCounts", where = where)
  })
  own <- methods::new(methods::getClass("OwnCounts", where = where), counts = sim_small()$counts)
  expect_identical(
    do.call(calculateSCVAE, c(list(own), quick(seed = 1)))[, ],
    quick_fit(sim_small()$counts, seed = 1)$embedding[, ]
  )
})
