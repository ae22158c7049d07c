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
    score <- scScore(model)
    expect_identical(range(score$scscore), c(0, 1))
    expect_true(all(is.na(score$FDR)))
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

# A file, its counts, and a model of all but the last ten of its cells.
written_file <- function(path = tempfile(fileext = ".h5ad")) {
  counts <- small_counts()
  model <- quick_fit(
    counts[, 1:30],
    min_genes = 5, min_cells = 1, embedding = "expression", seed = 1
  )
  write_h5ad(counts, path, var = list(symbol = rownames(counts)))
  list(path = path, counts = counts, model = model)
}

entry_of <- function(path, place) {
  value <- rhdf5::h5read(path, place)
  rhdf5::h5closeAll()
  value
}

md5 <- function(path) unname(tools::md5sum(path))

test_that("results are written where cells and genes of their names are", {
  skip_if_not_installed("rhdf5")
  x <- written_file()
  withr::defer(unlink(x$path))
  expect_message(writeResults(x$model, x$path), "30 of the file's 40 cells")
  embedding <- t(entry_of(x$path, "obsm/X_scvae"))
  expect_identical(embedding[1:30, ], unname(x$model$embedding))
  expect_true(all(is.na(embedding[31:40, ])))
  expect_identical(t(entry_of(x$path, "obsm/X_scvae_latent"))[1:30, ], unname(x$model$latent))
  score <- scScore(x$model)
  expect_identical(c(entry_of(x$path, "var/scscore")), score$scscore)
  expect_identical(c(entry_of(x$path, "var/scscore_rank")), as.double(score$rank))
  uns <- entry_of(x$path, "uns/scvae")
  expect_identical(c(uns$history$elbo_train), x$model$history$elbo_train)
  expect_equal(c(uns$settings$n_hidden), 16)
  expect_equal(c(uns$variance), unname(x$model$components$sd)^2)
  # The counts and what else was there can be read as before.
  expect_identical(readCounts(x$path, "dgCMatrix", verbose = FALSE), x$counts)
  expect_identical(c(entry_of(x$path, "var/symbol")), rownames(x$counts))
  expect_identical(list.files(dirname(x$path), "\\.part$", all.files = TRUE), character())
})

test_that("cells in another order find their rows", {
  skip_if_not_installed("rhdf5")
  x <- written_file()
  withr::defer(unlink(x$path))
  model <- quick_fit(x$counts[60:1, 30:1], min_genes = 5, min_cells = 1, seed = 1)
  writeResults(model, x$path, verbose = FALSE)
  embedding <- t(entry_of(x$path, "obsm/X_scvae"))
  expect_identical(embedding[1:30, ], unname(model$embedding[30:1, ]))
  score <- scScore(model)[rownames(x$counts), ]
  expect_identical(c(entry_of(x$path, "var/scscore")), score$scscore)
})

test_that("entries are replaced only when asked, and names can be chosen", {
  skip_if_not_installed("rhdf5")
  x <- written_file()
  withr::defer(unlink(x$path))
  writeResults(x$model, x$path, verbose = FALSE)
  before <- md5(x$path)
  error <- expect_error(
    writeResults(x$model, x$path, verbose = FALSE),
    class = "scvae_error_argument"
  )
  expect_match(conditionMessage(error), "obsm/X_scvae")
  expect_match(conditionMessage(error), "overwrite = TRUE")
  expect_identical(md5(x$path), before)
  expect_silent(writeResults(x$model, x$path, overwrite = TRUE, verbose = FALSE))
  expect_silent(writeResults(x$model, x$path, "X_2", "score_2", "fit_2", verbose = FALSE))
  expect_identical(entry_of(x$path, "obsm/X_2"), entry_of(x$path, "obsm/X_scvae"))
  expect_identical(c(entry_of(x$path, "var/score_2")), scScore(x$model)$scscore)
  # Of the model that is replaced nothing stays beside the other's.
  other <- quick_fit(x$counts[, 1:30], min_genes = 5, embedding = "latent", seed = 2)
  expect_null(other$components)
  writeResults(other, x$path, overwrite = TRUE, verbose = FALSE)
  expect_identical(t(entry_of(x$path, "obsm/X_scvae"))[1:30, ], unname(other$latent))
  left <- rhdf5::h5ls(x$path)$name
  expect_false("X_scvae_latent" %in% left)
  expect_true("X_2_latent" %in% left)
  expect_error(
    writeResults(x$model, x$path, scores = "_index", overwrite = TRUE), "names of its genes",
    class = "scvae_error_argument"
  )
  expect_error(loadSCVAE(dirname(x$path)), "is a folder", class = "scvae_error_file")
  loaded <- x$model
  loaded[c("embedding", "latent")] <- list(NULL)
  expect_error(
    writeResults(loaded, x$path, "X_3", "score_3", "fit_3"), "obsm = NULL",
    class = "scvae_error_argument"
  )
  expect_silent(writeResults(loaded, x$path, NULL, "score_3", NULL, verbose = FALSE))
  expect_identical(c(entry_of(x$path, "var/score_3")), scScore(x$model)$scscore)
})

test_that("a file that cannot be written stays as it was", {
  skip_if_not_installed("rhdf5")
  x <- written_file()
  withr::defer(unlink(x$path))
  # What should be a group is none, which is noticed when the embedding is in the copy already.
  rhdf5::h5write(1, x$path, "uns")
  rhdf5::h5closeAll()
  before <- md5(x$path)
  expect_error(
    writeResults(x$model, x$path, verbose = FALSE), "is as it was",
    class = "scvae_error_file"
  )
  expect_identical(md5(x$path), before)
  expect_identical(list.files(dirname(x$path), "\\.part$", all.files = TRUE), character())
})

test_that("wrong input of writeResults() is refused", {
  skip_if_not_installed("rhdf5")
  x <- written_file()
  withr::defer(unlink(x$path))
  before <- md5(x$path)
  refused <- function(..., class = "argument") {
    expect_error(
      writeResults(..., verbose = FALSE),
      class = paste0("scvae_error_", class)
    )
  }
  refused(1, x$path)
  refused(x$model, 1)
  refused(x$model, x$path, overwrite = NA)
  refused(x$model, x$path, obsm = "a/b")
  refused(x$model, x$path, uns = c("a", "b"))
  refused(x$model, x$path, scores = "")
  refused(x$model, x$path, NULL, NULL, NULL)
  refused(x$model, "no_such_file.h5ad", class = "file")
  refused(x$model, tempdir(), class = "file")
  refused(x$model, withr::local_tempfile(lines = "text"), class = "file")
  other <- x$model
  other$cell_names <- paste0("other_", other$cell_names)
  error <- refused(other, x$path)
  expect_match(conditionMessage(error), "other_")
  other <- x$model
  other$genes$gene <- paste0("other_", other$genes$gene)
  refused(other, x$path)
  expect_identical(md5(x$path), before)
  twice <- x$counts
  colnames(twice)[2] <- colnames(twice)[1]
  path <- write_h5ad(twice, withr::local_tempfile(fileext = ".h5ad"))
  error <- refused(x$model, path)
  expect_match(conditionMessage(error), "obs_names_make_unique")
})
