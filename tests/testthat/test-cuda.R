# On a machine with a graphics card; where there is none, the Rust tests have what plays one.
skip_if(!is.null(scvaeInfo()$cuda_missing), "no graphics card")

on_device <- function(device, ...) {
  fitSCVAE(
    sim_small()$counts,
    min_genes = 1, max_epochs = 2, n_hidden = 32, seed = 1, device = device, verbose = FALSE, ...
  )
}

test_that("a card trains what the processor trains", {
  cpu <- on_device("cpu")
  card <- on_device("cuda")
  expect_equal(card$latent, cpu$latent, tolerance = 1e-4)
  expect_identical(on_device("auto")$latent, card$latent)
  expect_identical(predict(card, sim_small()$counts), card$embedding)
})

test_that("models and checkpoints of a card are like others", {
  folder <- withr::local_tempdir()
  card <- on_device("cuda", checkpoint = file.path(folder, "fit"))
  file <- file.path(folder, "model.scvae")
  saveSCVAE(card, file)
  expect_identical(predict(loadSCVAE(file), sim_small()$counts), card$embedding)
  resumed <- resumeSCVAE(file.path(folder, "fit"), sim_small()$counts, verbose = FALSE)
  expect_equal(resumed$latent, card$latent, tolerance = 1e-4)
})

test_that("a card that is not there is refused by its number", {
  expect_error(on_device("cuda:99"), "cuda:99", class = "scvae_error_argument")
})
