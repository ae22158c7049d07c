test_that("simulated counts have the promised form", {
  sim <- simulateCounts(n_cells = 200, n_genes = 2000, n_types = 3, n_batches = 2, seed = 1)
  expect_s4_class(sim$counts, "dgCMatrix")
  expect_identical(dim(sim$counts), c(2000L, 200L))
  expect_true(methods::validObject(sim$counts))
  expect_true(all(sim$counts@x > 0 & sim$counts@x == round(sim$counts@x)))
  nonzero <- length(sim$counts@x) / prod(dim(sim$counts))
  expect_gt(nonzero, 0.06)
  expect_lt(nonzero, 0.11)
  expect_identical(levels(sim$cell_type), paste0("type_", 1:3))
  expect_identical(levels(sim$batch), paste0("batch_", 1:2))
  expect_identical(nrow(sim$markers), 75L)
  expect_false(anyDuplicated(sim$markers$gene) > 0)
})

test_that("markers are higher in their cell type", {
  sim <- simulateCounts(n_cells = 200, n_genes = 2000, seed = 1)
  for (type in levels(sim$cell_type)) {
    own <- as.matrix(sim$counts[sim$markers$gene[sim$markers$cell_type == type], ])
    inside <- mean(own[, sim$cell_type == type])
    outside <- mean(own[, sim$cell_type != type])
    expect_gt(inside, 4 * outside)
  }
})

test_that("a seed gives the same counts and leaves R's random numbers alone", {
  set.seed(9)
  before <- random_state()
  first <- simulateCounts(n_cells = 50, n_genes = 100, n_markers = 5, seed = 2)
  expect_identical(random_state(), before)
  expect_identical(simulateCounts(n_cells = 50, n_genes = 100, n_markers = 5, seed = 2), first)
  other <- simulateCounts(n_cells = 50, n_genes = 100, n_markers = 5)
  set.seed(9)
  expect_identical(simulateCounts(n_cells = 50, n_genes = 100, n_markers = 5), other)
})

test_that("sizes are checked", {
  expect_error(simulateCounts(n_cells = 1), class = "scvae_error_argument")
  expect_error(simulateCounts(n_genes = 50), class = "scvae_error_argument")
  expect_error(simulateCounts(dispersion = 0), class = "scvae_error_argument")
})
