test_that("a fit has the promised parts", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_s3_class(model, "SCVAE")
  expect_type(model$model, "raw")
  expect_identical(dim(model$latent), c(300L, 4L))
  expect_identical(dim(model$latent_sd), c(300L, 4L))
  expect_identical(
    dimnames(model$latent),
    list(colnames(sim$counts), paste0("SCVAE_", 1:4))
  )
  expect_true(all(is.finite(model$latent)))
  expect_true(all(model$latent_sd > 0))
  expect_identical(model$genes$gene, rownames(sim$counts))
  expect_identical(model$genes$kept, unname(Matrix::rowSums(sim$counts > 0) >= 3))
  kept <- model$genes$kept
  expect_identical(range(model$genes$scscore[kept]), c(0, 1))
  expect_true(all(is.na(model$genes$scscore[!kept])))
  expect_identical(colnames(model$connections), c("batch_1", "batch_2"))
  expect_identical(unname(rowMeans(model$connections)), model$genes$n_connections[kept])
  expect_s3_class(model$history, "data.frame")
  expect_identical(nrow(model$history), 2L)
  expect_true(all(c("epoch", "elbo_train", "reconstruction_loss_train") %in% names(model$history)))
  expect_identical(as.character(model$batch), unname(as.character(sim$batch)))
  expect_identical(model$stopped, "completed")
})

# Two cells under `min_genes`: one with a few counts, one with none.
with_poor_cells <- function() {
  x <- sim_small()$counts
  x[-(1:10), 3] <- 0
  x[, 50] <- 0
  Matrix::drop0(x)
}

test_that("filtered cells are embedded without being trained on, and a warning counts them", {
  x <- with_poor_cells()
  batch <- sim_small()$batch
  warning <- expect_warning(
    model <- quick_fit(x, batch = batch, seed = 1),
    class = "scvae_warning_filtered"
  )
  expect_match(conditionMessage(warning), "2 of 300 cells have", fixed = TRUE)
  expect_identical(which(!model$trained_cells), c(3L, 50L))
  expect_true(all(is.finite(model$latent)))
  expect_true(all(model$latent_sd > 0))
  expect_match(format(model), "298 of 300 trained", all = FALSE, fixed = TRUE)
  # The poor cells have none of the genes on which the others' filter could hang.
  trained <- model$trained_cells
  alone <- quick_fit(x[model$genes$kept, trained], batch = batch[trained], min_cells = 0, seed = 1)
  expect_identical(model$latent[trained, ], alone$latent)
  expect_identical(model$latent_sd[trained, ], alone$latent_sd)
  expect_equal(
    model$latent[!trained, ], predict(alone, x[, !trained], batch = batch[!trained]),
    tolerance = 1e-5
  )
})

test_that("the embedding of filtered cells is NA on request", {
  x <- with_poor_cells()
  embedded <- suppressWarnings(quick_fit(x, seed = 1))
  warning <- expect_warning(
    model <- quick_fit(x, seed = 1, filtered_cells = "NA"),
    class = "scvae_warning_filtered"
  )
  expect_match(conditionMessage(warning), "is NA", fixed = TRUE)
  expect_identical(unname(which(is.na(model$latent[, 1]))), c(3L, 50L))
  expect_identical(is.na(model$latent_sd), is.na(model$latent))
  expect_identical(model$latent[-c(3, 50), ], embedded$latent[-c(3, 50), ])
  expect_error(quick_fit(x, filtered_cells = "drop"), class = "scvae_error_argument")
})

test_that("one filtered cell is told of in the singular, and without any there is no warning", {
  x <- sim_small()$counts
  expect_silent(model <- quick_fit(x, seed = 1))
  expect_identical(model$trained_cells, rep(TRUE, 300))
  expect_no_match(format(model), "trained")
  x[, 3] <- 0
  warning <- expect_warning(quick_fit(x, seed = 1), class = "scvae_warning_filtered")
  expect_match(conditionMessage(warning), "1 of 300 cells has", fixed = TRUE)
  expect_match(conditionMessage(warning), "It is embedded", fixed = TRUE)
})

test_that("filtered cells neither vote on labels nor are scored", {
  skip_if_not_installed("RANN")
  x <- with_poor_cells()
  model <- suppressWarnings(quick_fit(x, seed = 1))
  labels <- check_reference_labels(rep("a", 300), model, rlang::current_env())
  expect_identical(which(is.na(labels)), c(3L, 50L))
  skip_if_not_installed("igraph")
  skip_if_not_installed("uwot")
  expect_message(
    scores <- evaluateEmbedding(model, sim_small()$cell_type),
    "2 of 300 cells are left out: 2 not trained on"
  )
  expect_identical(attr(scores, "n_cells"), 298L)
})

test_that("set.seed() makes a fit repeatable", {
  x <- sim_small()$counts
  set.seed(5)
  first <- quick_fit(x)
  second <- quick_fit(x)
  set.seed(5)
  again <- quick_fit(x)
  expect_identical(result_of(first), result_of(again))
  expect_false(identical(first$latent, second$latent))
})

test_that("with a seed R's random numbers are left alone", {
  x <- sim_small()$counts
  set.seed(5)
  before <- random_state()
  first <- quick_fit(x, seed = 3)
  expect_identical(random_state(), before)
  expect_identical(result_of(first), result_of(quick_fit(x, seed = 3)))
  expect_false(identical(first$latent, quick_fit(x, seed = 4)$latent))
})

test_that("the number of threads does not change the result", {
  x <- sim_small()$counts
  one <- quick_fit(x, seed = 1, threads = 1)
  two <- quick_fit(x, seed = 1, threads = 2)
  expect_identical(one$latent, two$latent)
  expect_identical(one$connections, two$connections)
})

test_that("threads follow the option and the limits", {
  withr::local_envvar(
    OMP_THREAD_LIMIT = "1", SLURM_CPUS_PER_TASK = NA, "_R_CHECK_LIMIT_CORES_" = NA
  )
  withr::local_options(scVAE.threads = NULL)
  expect_identical(check_threads(NULL), 1L)
  expect_identical(check_threads(3), 3L)
  withr::local_envvar(OMP_THREAD_LIMIT = NA, "_R_CHECK_LIMIT_CORES_" = "TRUE")
  expect_lte(check_threads(NULL), 2L)
  withr::local_envvar(SLURM_CPUS_PER_TASK = "1", "_R_CHECK_LIMIT_CORES_" = NA)
  expect_identical(check_threads(NULL), 1L)
  withr::local_envvar(SLURM_CPUS_PER_TASK = "1000")
  expect_identical(check_threads(NULL), rs_available_threads())
  withr::local_options(scVAE.threads = 5)
  expect_identical(check_threads(NULL), 5L)
  withr::local_options(scVAE.threads = "many")
  expect_error(check_threads(NULL), class = "scvae_error_argument")
})

test_that("verbose = FALSE is silent, verbose = TRUE is not", {
  x <- sim_small()$counts
  expect_silent(quick_fit(x, seed = 1))
  expect_message(quick_fit(x, seed = 1, verbose = TRUE), "300 cells")
})

test_that("print and summary say what was fitted", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  text <- paste(capture.output(print(model)), collapse = "\n")
  for (part in c("300", "batch_1, batch_2", "4 dimensions", "zinb", "ELBO", "effective")) {
    expect_match(text, part, fixed = TRUE)
  }
  printed <- capture.output(returned <- print(summary(model, n = 3)))
  expect_s3_class(returned, "summary.SCVAE")
  expect_identical(nrow(returned$top_genes), 3L)
  expect_match(printed, returned$top_genes$gene[1], all = FALSE, fixed = TRUE)
})

test_that("early stopping stops and keeps the best epoch", {
  x <- sim_small()$counts
  model <- quick_fit(
    x,
    seed = 1, max_epochs = 60, early_stopping = TRUE, early_stopping_patience = 1, lr = 0.05
  )
  expect_identical(model$stopped, "early_stopping")
  expect_lt(model$epochs, 60)
  expect_lte(model$best_epoch, model$epochs)
  expect_true(any(is.finite(model$history$elbo_validation)))
})

test_that("the default number of threads is that of the cores that may be used", {
  skip_on_os(c("windows", "mac", "solaris"))
  skip_if(Sys.which("taskset") == "")
  skip_if_not_installed("callr")
  script <- "cat(scVAE:::available_threads())"
  of_one_core <- withr::with_envvar(
    c(OMP_THREAD_LIMIT = NA, SLURM_CPUS_PER_TASK = NA, R_LIBS = paste(.libPaths(), collapse = ":")),
    system2("taskset", c("-c", "0", file.path(R.home("bin"), "Rscript"), "-e", shQuote(script)),
            stdout = TRUE)
  )
  expect_identical(of_one_core, "1")
})

test_that("a fit that goes astray is told", {
  sim <- sim_small()
  warning <- expect_warning(
    quick_fit(sim$counts, batch = sim$batch, lr = 0.3, seed = 1),
    class = "scvae_warning_latent"
  )
  expect_match(cli::ansi_strip(conditionMessage(warning)), "from 0.*Lower `lr`, which is 0.3")
  expect_silent(quick_fit(sim$counts, batch = sim$batch, seed = 1))
})

test_that("an interrupted fit gives a model that can be used", {
  skip_on_cran()
  skip_on_os("windows")
  skip_if_not_installed("callr")
  started <- withr::local_tempfile()
  process <- callr::r_bg(
    function(started) {
      x <- scVAE::simulateCounts(n_cells = 300, n_genes = 500, library_size = 300, seed = 7)$counts
      classes <- NULL
      file.create(started)
      model <- withCallingHandlers(
        scVAE::fitSCVAE(
          x,
          min_genes = 20, n_hidden = 16, max_epochs = 1e6, seed = 1, threads = 1, verbose = FALSE
        ),
        warning = function(w) {
          classes <<- c(classes, class(w))
          invokeRestart("muffleWarning")
        }
      )
      list(
        classes = classes, stopped = model$stopped,
        same = identical(predict(model, x, threads = 1), predict(model))
      )
    },
    list(started = started)
  )
  withr::defer(process$kill())
  deadline <- Sys.time() + 30
  while (!file.exists(started) && Sys.time() < deadline) Sys.sleep(0.1)
  Sys.sleep(1)
  process$interrupt()
  process$wait(20000)
  result <- process$get_result()
  expect_identical(result$stopped, "interrupted")
  expect_true("scvae_warning_interrupted" %in% result$classes)
  expect_true(result$same)
})

test_that("the call holds no data", {
  x <- sim_small()$counts
  expect_lt(as.numeric(object.size(quick_fit(x)$call)), 10000)
})
