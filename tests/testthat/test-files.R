test_that("a saved model is loaded again", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  file <- withr::local_tempfile(fileext = ".safetensors")
  expect_identical(saveSCVAE(model, file), file)
  again <- loadSCVAE(file)
  expect_s3_class(again, "SCVAE")
  expect_identical(again$model, model$model)
  expect_identical(again$connections, model$connections)
  expect_identical(again$batch_names, model$batch_names)
  # The file is the same however long the fit took: the times are not in it.
  expect_true(all(is.na(again$history$seconds)))
  expect_equal(again$history[names(again$history) != "seconds"],
               model$history[names(model$history) != "seconds"])
  expect_identical(again$n_parameters, model$n_parameters)
  expect_identical(again$genes$gene, model$genes$gene[model$genes$kept])
  expect_equal(again$genes$scscore, model$genes$scscore[model$genes$kept])
  expect_identical(
    predict(again, sim$counts, batch = sim$batch),
    predict(model, sim$counts, batch = sim$batch)
  )
  expect_match(capture.output(print(again)), "not in the file", all = FALSE)
  expect_equal(again$settings$n_hidden, model$settings$n_hidden)
  expect_error(predict(again), class = "scvae_error_argument")
  # Nothing is left beside the file.
  expect_identical(
    list.files(dirname(file), pattern = basename(file), all.files = TRUE),
    basename(file)
  )
})

test_that("the columns of the batches are in the file", {
  skip_if_not_installed("SingleCellExperiment")
  sim <- sim_small()
  x <- SingleCellExperiment::SingleCellExperiment(
    list(counts = sim$counts), colData = data.frame(donor = sim$batch)
  )
  model <- quick_fit(x, batch = "donor", seed = 1)
  file <- withr::local_tempfile()
  saveSCVAE(model, file)
  again <- loadSCVAE(file)
  expect_identical(again$batch_column, "donor")
  expect_identical(predict(again, x), model$latent)
  mapped <- mapSCVAE(
    again, sim$counts[, 1:50],
    max_epochs = 1, seed = 1, threads = 1, verbose = FALSE
  )
  expect_identical(mapped$batch_column, "donor")
})

test_that("files are not replaced unless asked", {
  model <- quick_fit(sim_small()$counts, seed = 1)
  file <- withr::local_tempfile(lines = "keep me")
  expect_error(saveSCVAE(model, file), class = "scvae_error_file")
  expect_identical(readLines(file), "keep me")
  saveSCVAE(model, file, overwrite = TRUE)
  expect_identical(loadSCVAE(file)$model, model$model)
})

test_that("damaged and foreign files are refused", {
  model <- quick_fit(sim_small()$counts, seed = 1)
  file <- withr::local_tempfile()
  for (bytes in list(raw(), charToRaw("not a model"), utils::head(model$model, -10))) {
    writeBin(bytes, file)
    expect_error(loadSCVAE(file), class = "scvae_error_model")
  }
  expect_error(loadSCVAE("no_such_file"), class = "scvae_error_file")
  expect_error(
    saveSCVAE(model, file.path(tempdir(), "no_such_folder", "a")),
    class = "scvae_error_file"
  )
  expect_error(saveSCVAE(model, tempdir()), class = "scvae_error_file")
  expect_error(saveSCVAE(1, file), class = "scvae_error_argument")
})
