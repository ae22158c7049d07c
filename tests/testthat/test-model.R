test_that("predict() on the training cells gives their embedding", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_identical(predict(model), model$latent)
  expect_identical(predict(model, type = "sd"), model$latent_sd)
  again <- predict(model, sim$counts, batch = sim$batch)
  expect_equal(again, model$latent, tolerance = 1e-6)
  expect_equal(
    predict(model, sim$counts, "sd", batch = sim$batch),
    model$latent_sd,
    tolerance = 1e-6
  )
})

test_that("cells can be chosen and do not depend on one another", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, seed = 1)
  all <- predict(model, sim$counts)
  expect_identical(predict(model, sim$counts, cells = 5:7), all[5:7, ])
  expect_identical(predict(model, cells = c("cell002", "cell001")), model$latent[2:1, ])
  expect_equal(predict(model, sim$counts[, 5:7]), all[5:7, ], tolerance = 1e-6)
})

test_that("genes are matched by name", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, seed = 1)
  all <- predict(model, sim$counts)
  shuffled <- sim$counts[rev(rownames(sim$counts)), ]
  expect_equal(predict(model, shuffled), all, tolerance = 1e-6)
  few <- sim$counts[-(1:20), ]
  expect_warning(predict(model, few), class = "scvae_warning_genes")
  expect_error(predict(model, sim$counts[1:100, ]), class = "scvae_error_model")
})

test_that("reconstruction has its shape, names and relations", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  genes <- model$genes$gene[model$genes$kept][c(5, 2, 9)]
  cells <- colnames(sim$counts)[c(8, 1)]
  get <- function(type, ...) {
    predict(model, sim$counts, type, batch = sim$batch, genes = genes, cells = cells, ...)
  }
  rate <- get("px_rate")
  expect_identical(dimnames(rate), list(genes, cells))
  scale <- get("px_scale")
  kept <- model$genes$kept
  library <- Matrix::colSums(sim$counts[kept, cells])
  expect_equal(rate, sweep(scale, 2, library, "*"), tolerance = 1e-5)
  expect_equal(get("px_rate", library = 1e4), scale * 1e4, tolerance = 1e-5)
  dropout <- get("px_dropout")
  expect_true(all(dropout >= 0 & dropout <= 1))
  whole <- predict(model, sim$counts, "px_scale", batch = sim$batch)
  expect_equal(unname(colSums(whole)), rep(1, 300), tolerance = 1e-4)
  expect_equal(whole[genes, cells], scale, tolerance = 1e-6)
})

test_that("computing in pieces changes nothing but the last digits", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, seed = 1)
  get <- function(cells, chunk) {
    reconstruct_cells(
      model, as_counts(sim$counts), NULL, NULL, cells, "observed", "px_scale",
      style = NULL, threads = 1, call = rlang::current_env(), chunk = chunk
    )
  }
  whole <- get(NULL, 1e6)
  expect_identical(whole, predict(model, sim$counts, "px_scale"))
  expect_equal(get(NULL, 5000), whole, tolerance = 1e-5)
  expect_equal(get(NULL, 1), whole, tolerance = 1e-5)
  cells <- c(250:300, 1:20)
  expect_equal(get(cells, 5000), whole[, cells], tolerance = 1e-5)
  expect_identical(dim(get(integer(), 5000)), c(nrow(whole), 0L))
})

test_that("mistakes in predict() are named", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  plain <- quick_fit(sim$counts, seed = 1)
  expect_snapshot({
    cat(error_text(predict(model, sim$counts)))
    cat(error_text(predict(model, sim$counts, batch = rep("other", 300))))
    cat(error_text(predict(model, type = "px_rate")))
    cat(error_text(predict(model, sim$counts, type = "latnet")))
    cat(error_text(predict(plain, sim$counts, "px_rate", genes = "gene9999")))
    cat(error_text(predict(plain, sim$counts, "px_rate", cells = 1000)))
    cat(error_text(predict(plain, sim$counts, "px_rate", library = "mean")))
    cat(error_text(predict(plain, sim$counts, "px_rate", library = -1)))
    cat(error_text(predict(plain, sim$counts, "latent", genes = "gene001")))
  })
  expect_warning(
    predict(plain, sim$counts, batch = sim$batch),
    class = "scvae_warning_batch"
  )
})

test_that("one batch's name stands for all cells", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_identical(
    predict(model, sim$counts, batch = "batch_2"),
    predict(model, sim$counts, batch = rep("batch_2", 300))
  )
})

test_that("a model survives saveRDS() into another session", {
  skip_if_not_installed("callr")
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  path <- withr::local_tempfile(fileext = ".rds")
  saveRDS(list(model = model, sim = sim), path)
  there <- callr::r(
    function(path) {
      saved <- readRDS(path)
      library(scVAE)
      list(
        latent = predict(saved$model, saved$sim$counts, batch = saved$sim$batch, threads = 1),
        printed = utils::capture.output(print(saved$model))
      )
    },
    list(path = path)
  )
  expect_identical(there$latent, predict(model, sim$counts, batch = sim$batch))
  expect_identical(there$printed, capture.output(print(model)))
})
