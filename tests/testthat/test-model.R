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
  expect_identical(predict(model, cells = c("cell002", "cell001")), model$embedding[2:1, ])
  expect_equal(predict(model, sim$counts[, 5:7]), all[5:7, ], tolerance = 1e-5)
})

test_that("genes are matched by name", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, seed = 1)
  all <- predict(model, sim$counts)
  shuffled <- sim$counts[rev(rownames(sim$counts)), ]
  expect_equal(predict(model, shuffled), all, tolerance = 1e-6)
  few <- sim$counts[-(1:20), ]
  warning <- expect_warning(predict(model, few), class = "scvae_warning_genes")
  expect_match(conditionMessage(warning), "genes are not in the data and are taken")
  one <- sim$counts[rownames(sim$counts) != model$genes$gene[model$genes$kept][1], ]
  warning <- expect_warning(predict(model, one), class = "scvae_warning_genes")
  expect_match(conditionMessage(warning), "^1 of .* genes is not in the data and is taken")
  expect_error(predict(model, sim$counts[1:100, ]), class = "scvae_error_model")
})

test_that("what the model knows of genes and batches is in its bytes", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  edited <- model
  edited$genes <- edited$genes[rev(seq_len(nrow(edited$genes))), ]
  edited$genes$gene <- toupper(edited$genes$gene)
  edited$batch_names <- rev(edited$batch_names)
  expect_identical(
    predict(edited, sim$counts, batch = sim$batch), predict(model, sim$counts, batch = sim$batch)
  )
  expect_identical(
    denoiseCounts(edited, sim$counts, batch = sim$batch, genes = "gene001"),
    denoiseCounts(model, sim$counts, batch = sim$batch, genes = "gene001")
  )
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

test_that("only a likelihood with extra zeros has px_dropout, and Poisson's has no px_r", {
  sim <- sim_small()
  for (likelihood in c("nb", "poisson")) {
    model <- quick_fit(sim$counts, likelihood = likelihood, seed = 1)
    expect_match(format(model), paste0("Likelihood: *", likelihood), all = FALSE)
    expect_true(all(predict(model, sim$counts, "px_rate", genes = 1:5) > 0))
    error <- expect_error(
      predict(model, sim$counts, "px_dropout"),
      class = "scvae_error_argument"
    )
    expect_match(
      cli::ansi_strip(conditionMessage(error)),
      sprintf("needs a model with likelihood = \"zinb\".*\"%s\"", likelihood)
    )
    n_dispersions <- if (likelihood == "nb") sum(model$genes$kept) else 0
    expect_length(rs_model_info(model$model)$px_r, n_dispersions)
  }
})

test_that("computing in pieces changes nothing but the last digits", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, seed = 1)
  get <- function(cells, chunk) {
    reconstruct_cells(
      open_model(model, NULL), as_counts(sim$counts), NULL, NULL, cells, "observed", "px_scale",
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

# How often the package calls a function of its own while `expr` runs.
calls_of <- function(name, expr) {
  n <- 0
  namespace <- asNamespace("scVAE")
  suppressMessages(trace(
    name, bquote(assign("n", get("n", .(environment())) + 1, .(environment()))),
    print = FALSE, where = namespace
  ))
  on.exit(suppressMessages(untrace(name, where = namespace)))
  force(expr)
  n
}

test_that("a model and a file are read once for all pieces of a result", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_identical(calls_of("rs_load_model", {
    open <- open_model(model, NULL)
    reconstruct_cells(
      open, as_counts(sim$counts), sim$batch, NULL, NULL, "observed", "px_scale",
      style = NULL, threads = 1, call = NULL, chunk = 5000
    )
  }), 1)
  both <- function() transferBatchStyle(model, sim$counts, to = "all", batch = sim$batch)
  expect_identical(calls_of("rs_load_model", both()), 1)
  expect_identical(calls_of("as_counts", both()), 1)
  expect_identical(calls_of("rs_reconstruct", both()), 2)
  # A handle that is read by no model's bytes is refused as such.
  expect_error(rust_call(rs_model_names(1)), class = "scvae_error_model")
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
