three_batches <- function() {
  sim <- simulateCounts(
    n_cells = 240, n_genes = 400, n_types = 3, n_batches = 3, n_markers = 15, library_size = 300,
    batch_effect = 0.5, seed = 4
  )
  sim$new <- sim$batch == "batch_3"
  sim
}

test_that("a new batch is mapped and the model's own cells stay where they are", {
  sim <- three_batches()
  old <- !sim$new
  model <- quick_fit(sim$counts[, old], batch = sim$batch[old], seed = 1, max_epochs = 20)
  mapped <- mapSCVAE(
    model, sim$counts[, sim$new],
    batch = "batch_3", max_epochs = 5, seed = 1, threads = 1, verbose = FALSE
  )
  expect_s3_class(mapped, "SCVAE")
  expect_identical(mapped$batch_names, c("batch_1", "batch_2", "batch_3"))
  expect_identical(rownames(mapped$latent), colnames(sim$counts)[sim$new])
  expect_identical(
    predict(mapped, sim$counts[, old], batch = sim$batch[old], threads = 1),
    predict(model, sim$counts[, old], batch = sim$batch[old], threads = 1)
  )
  expect_equal(
    predict(mapped, sim$counts[, sim$new], batch = "batch_3", threads = 1), mapped$latent
  )
  again <- mapSCVAE(
    model, sim$counts[, sim$new],
    batch = "batch_3", max_epochs = 5, seed = 1, threads = 2, verbose = FALSE
  )
  expect_identical(again$latent, mapped$latent)
  styled <- transferBatchStyle(
    mapped, sim$counts[, old],
    to = "batch_3", batch = sim$batch[old], threads = 1
  )
  expect_identical(dim(styled), c(nrow(model$connections), sum(old)))
})

test_that("a model without batches becomes the reference", {
  sim <- three_batches()
  model <- quick_fit(sim$counts[, !sim$new], seed = 1)
  mapped <- mapSCVAE(
    model, sim$counts[, sim$new],
    max_epochs = 2, seed = 1, threads = 1, verbose = FALSE
  )
  expect_identical(mapped$batch_names, c("reference", "new"))
  own <- predict(mapped, sim$counts[, !sim$new], batch = "reference", threads = 1)
  expect_identical(own, predict(model, sim$counts[, !sim$new], threads = 1))
})

test_that("labels are carried over with their share of the votes", {
  skip_if_not_installed("RANN")
  reference <- matrix(c(0, 0.1, 0.2, 5, 5.1, 5.2, NA), ncol = 1)
  labels <- c("a", "a", "b", "b", "b", NA, "a")
  query <- matrix(c(0.05, 5.05), ncol = 1, dimnames = list(c("q1", "q2"), NULL))
  voted <- scVAE:::vote(reference, labels, query, 3)
  expect_identical(voted$label, c("a", "b"))
  expect_equal(voted$confidence, c(2 / 3, 1))
  expect_identical(rownames(voted), c("q1", "q2"))

  sim <- three_batches()
  old <- !sim$new
  model <- quick_fit(
    sim$counts[, old],
    batch = sim$batch[old], seed = 1, max_epochs = 40,
    n_hidden = 32, lr = 3e-3
  )
  mapped <- mapSCVAE(
    model, sim$counts[, sim$new],
    batch = "batch_3", labels = sim$cell_type[old], seed = 1, threads = 1, verbose = FALSE
  )
  expect_gt(mean(mapped$labels$label == sim$cell_type[sim$new]), 0.8)
})

test_that("genes are aligned by name and few may lack", {
  sim <- three_batches()
  model <- quick_fit(sim$counts[, !sim$new], batch = sim$batch[!sim$new], seed = 1)
  query <- sim$counts[, sim$new]
  map <- function(x) {
    mapSCVAE(x, model = model, batch = "batch_3", max_epochs = 2, seed = 1, threads = 1,
             verbose = FALSE)$latent
  }
  expect_equal(map(query[rev(rownames(query)), ]), map(query))
  expect_warning(map(query[-(1:20), ]), class = "scvae_warning_genes")
})

test_that("a text that is no column is a batch, and it is said", {
  skip_if_not_installed("SeuratObject")
  sim <- three_batches()
  model <- quick_fit(sim$counts[, !sim$new], seed = 1)
  query <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts[, sim$new]))
  query$donor <- "d9"
  said <- function(batch) {
    messages <- character()
    withCallingHandlers(
      mapSCVAE(model, query, batch = batch, max_epochs = 1, seed = 1),
      message = function(m) {
        messages <<- c(messages, cli::ansi_strip(conditionMessage(m)))
        invokeRestart("muffleMessage")
      }
    )
    paste(messages, collapse = "")
  }
  expect_match(said("donor"), "1 new batch: \"d9\"", fixed = TRUE)
  mistyped <- said("Doner")
  expect_match(mistyped, "not as the column \"donor\"", fixed = TRUE)
  expect_match(mistyped, "1 new batch: \"Doner\"", fixed = TRUE)
  expect_no_match(said("donor_12"), "not as the column")
  expect_error(said("layers"), "layers", class = "scvae_error_argument")
})

test_that("mistakes in mapping are named", {
  sim <- three_batches()
  query <- sim$counts[, sim$new]
  model <- quick_fit(sim$counts[, !sim$new], batch = sim$batch[!sim$new], seed = 1)
  two <- quick_fit(
    sim$counts,
    batch = list(donor = sim$batch, chemistry = rep(c("v2", "v3"), length.out = 240)), seed = 1
  )
  expect_snapshot({
    cat(error_text(mapSCVAE(model, query, batch = "batch_1")))
    cat(error_text(mapSCVAE(model, query, batch = NULL)))
    cat(error_text(mapSCVAE(model, query[1:50, ])))
    cat(error_text(mapSCVAE(model, query, labels = 1:3)))
    cat(error_text(mapSCVAE(two, query)))
    cat(error_text(mapSCVAE(query, model)))
  })
})
