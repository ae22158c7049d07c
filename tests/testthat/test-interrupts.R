# Ctrl-C stops every function at once, and the session goes on.

# Starts `work` (a function of a model, counts and a batch) in another session, interrupts it after
# `after` seconds and says how it ended and how long that took.
interrupted <- function(work, after) {
  skip_on_cran()
  skip_on_os("windows")
  skip_if_not_installed("callr")
  started <- withr::local_tempfile()
  process <- callr::r_bg(
    function(work, started) {
      options(scVAE.threads = 1)
      sim <- scVAE::simulateCounts(
        n_cells = 2000, n_genes = 500, n_batches = 2, library_size = 300, seed = 7
      )
      few <- 1:300
      model <- suppressWarnings(scVAE::fitSCVAE(
        sim$counts[, few],
        batch = sim$batch[few], min_genes = 20, max_epochs = 1, seed = 1, verbose = FALSE
      ))
      before <- predict(model, sim$counts[, few], batch = sim$batch[few])
      many <- rep(1:2000, 50)
      counts <- sim$counts[, many]
      colnames(counts) <- paste0("cell", seq_along(many))
      batch <- unname(sim$batch[many])
      environment(work) <- globalenv()
      file.create(started)
      result <- tryCatch(
        {
          work(model, counts, batch)
          "done"
        },
        interrupt = function(e) "interrupt"
      )
      ended <- Sys.time()
      list(
        result = result, ended = ended,
        usable = identical(predict(model, sim$counts[, few], batch = sim$batch[few]), before)
      )
    },
    list(work = work, started = started)
  )
  withr::defer(process$kill())
  deadline <- Sys.time() + 60
  while (!file.exists(started) && process$is_alive() && Sys.time() < deadline) Sys.sleep(0.02)
  Sys.sleep(after)
  asked <- Sys.time()
  process$interrupt()
  process$wait(60000)
  result <- process$get_result()
  result$seconds <- as.numeric(difftime(result$ended, asked, units = "secs"))
  result
}

expect_interrupted <- function(work, after = c(0.3, 1)) {
  for (seconds in after) {
    found <- interrupted(work, seconds)
    expect_identical(found$result, "interrupt")
    # Half a second on an idle machine.
    expect_lt(found$seconds, 1.5)
    expect_true(found$usable)
  }
}

test_that("predict() stops", {
  expect_interrupted(function(model, counts, batch) predict(model, counts, batch = batch))
})

test_that("denoiseCounts() and transferBatchStyle() stop", {
  expect_interrupted(function(model, counts, batch) {
    scVAE::denoiseCounts(model, counts, batch = batch, genes = 1:20)
  })
  expect_interrupted(function(model, counts, batch) {
    scVAE::transferBatchStyle(model, counts, "all", batch = batch, genes = 1:20)
  })
})

test_that("a result in many pieces stops between two of them, too", {
  expect_interrupted(function(model, counts, batch) {
    scVAE::denoiseCounts(model, counts[, 1:40000], batch = batch[1:40000])
  })
})

test_that("mapSCVAE() stops", {
  expect_interrupted(function(model, counts, batch) {
    scVAE::mapSCVAE(model, counts, batch = "more", verbose = FALSE)
  }, after = c(0.2, 1, 2.5))
})

test_that("without a whole epoch there is no model but an interrupt", {
  expect_interrupted(function(model, counts, batch) {
    scVAE::fitSCVAE(counts, min_genes = 20, n_hidden = 512, verbose = FALSE)
  })
})

test_that("on request every interrupt leaves a loop of fits", {
  expect_interrupted(function(model, counts, batch) {
    for (seed in 1:100) {
      scVAE::fitSCVAE(
        counts[, 1:300],
        min_genes = 20, n_hidden = 16, max_epochs = 1e4, seed = seed, verbose = FALSE,
        training = list(on_interrupt = "stop")
      )
    }
  }, after = 1)
  expect_interrupted(function(model, counts, batch) {
    scVAE::scScore(
      counts[, 1:300],
      min_genes = 20, n_hidden = 16, n_repeats = 10000, verbose = FALSE, max_epochs = 2,
      training = scVAE::trainingControl(on_interrupt = "stop")
    )
  }, after = 1)
})

test_that("of several fits those are kept that were done", {
  found <- interrupted(function(model, counts, batch) {
    warned <- FALSE
    several <- withCallingHandlers(
      scVAE::fitSCVAE(
        counts[, 1:300],
        min_genes = 20, n_hidden = 16, n_repeats = 10000, max_epochs = 2, seed = 1, threads = 2,
        verbose = FALSE
      ),
      scvae_warning_interrupted = function(w) {
        warned <<- TRUE
        invokeRestart("muffleWarning")
      }
    )
    stopifnot(warned, nrow(several$repeats) > 2, nrow(several$repeats) < 10000)
    stopifnot(!is.null(several$stability), ncol(several$scores$values$connections) > 2)
  }, after = 1.5)
  expect_identical(found$result, "done")
  expect_true(found$usable)
})
