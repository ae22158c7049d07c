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

# Files that older versions wrote, with what these made of some cells; see tools/frozen-models.sh.
frozen <- function(name) test_path("..", "formats", name)

frozen_counts <- function() {
  digits <- strsplit(readLines(frozen("counts.txt")), "")
  counts <- do.call(cbind, lapply(digits, as.numeric))
  rownames(counts) <- paste0("gene", seq_len(nrow(counts)) - 1)
  colnames(counts) <- paste0("cell", seq_len(ncol(counts)))
  counts
}

test_that("models of older versions are loaded", {
  counts <- frozen_counts()
  cell <- seq_len(ncol(counts)) - 1
  parity <- ifelse(cell %% 2 == 0, "even", "odd")
  code <- pmin(2 * (cell %% 3) + cell %/% 3 %% 2, 4)
  covariates <- data.frame(
    donor = c("a", "a", "b", "b", "c")[code + 1],
    chemistry = c("1", "2", "1", "2", "1")[code + 1]
  )
  batches <- list(
    format1_5d1b1e8_one = NULL,
    format1_5d1b1e8_two = parity,
    format1_c3e11e6_none_nb_early = NULL,
    format2_84d6fc8_two = parity,
    format2_82b4957_covariates = covariates,
    format3_two = parity
  )
  for (name in names(batches)) {
    model <- loadSCVAE(frozen(paste0(name, ".safetensors")))
    latent <- predict(model, counts, batch = batches[[name]], threads = 1)
    recorded <- utils::read.csv(frozen(paste0(name, ".csv")))
    recorded <- recorded[recorded$what == "latent", ]
    found <- latent[cbind(recorded$row, recorded$column) + 1]
    expect_lt(max(abs(found - recorded$value)), 1e-5)
  }
})

test_that("a model that does not know its batches' libraries says so", {
  counts <- frozen_counts()
  parity <- rep(c("even", "odd"), length.out = ncol(counts))
  transfer <- function(name, library) {
    model <- loadSCVAE(frozen(paste0(name, ".safetensors")))
    transferBatchStyle(
      model, counts,
      to = "odd", batch = parity, library = library, threads = 1
    )
  }
  error <- expect_error(
    transfer("format1_5d1b1e8_two", "target"),
    class = "scvae_error_argument"
  )
  expect_match(conditionMessage(error), "odd")
  expect_match(conditionMessage(error), "observed")
  expect_true(all(transfer("format1_5d1b1e8_two", 1000) > 0))
  expect_true(all(transfer("format2_82b4957_two", "target") > 0))
})
