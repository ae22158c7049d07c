# A fit that was cut off goes on to the same bytes.

counts_and_batch <- function() {
  simulateCounts(n_cells = 800, n_genes = 600, n_batches = 2, library_size = 300, seed = 7)
}

# Some seconds long.
slow_fit <- function(...) {
  sim <- counts_and_batch()
  quick_fit(sim$counts, batch = sim$batch, seed = 3, n_hidden = 64, max_epochs = 30, ...)
}

resume <- function(folder, ...) {
  sim <- counts_and_batch()
  resumeSCVAE(folder, sim$counts, batch = sim$batch, verbose = FALSE, ...)
}

same_parts <- c("model", "settings", "stopped", "epochs", "batch", "batch_names", "trained_cells")

expect_same <- function(found, expected, info = NULL) {
  expect_identical(found[same_parts], expected[same_parts], info = info)
  expect_identical(result_of(found), result_of(expected), info = info)
}

# Starts `work`, a function of a folder and of counts, in another session and kills it `after`
# seconds from the moment when there is `file` in the folder. Whether it was killed in the middle.
killed <- function(work, folder, file, after) {
  skip_on_cran()
  skip_if_not_installed("callr")
  process <- callr::r_bg(
    function(work, folder, sim) {
      options(scVAE.threads = 1)
      environment(work) <- globalenv()
      work(folder, sim)
    },
    list(work = work, folder = folder, sim = counts_and_batch())
  )
  file <- file.path(folder, file)
  deadline <- Sys.time() + 60
  while (!file.exists(file) && process$is_alive() && Sys.time() < deadline) Sys.sleep(0.01)
  Sys.sleep(after)
  in_the_middle <- process$is_alive()
  process$kill()
  process$wait()
  in_the_middle
}

test_that("a fit that is killed goes on to the same bytes, with any number of threads", {
  expected <- slow_fit()
  kept <- withr::local_tempdir()
  in_the_middle <- 0
  for (k in 1:3) {
    folder <- file.path(kept, k)
    after <- stats::runif(1, 0, 0.8) * expected$seconds
    died <- killed(function(folder, sim) {
      scVAE::fitSCVAE(
        sim$counts,
        batch = sim$batch, min_genes = 20, n_latent = 4, verbose = FALSE, seed = 3,
        n_hidden = 64, max_epochs = 30, checkpoint = folder
      )
    }, folder, "checkpoint.safetensors", after)
    in_the_middle <- in_the_middle + died
    # What a write that was cut off leaves behind.
    writeBin(as.raw(1:100), file.path(folder, "checkpoint.new"))
    found <- resume(folder, threads = if (k == 2) 2)
    found$settings$threads <- expected$settings$threads
    expect_same(found, expected, sprintf("killed after %.2f s", after))
    # Going on once more finds the training done.
    if (k == 3) expect_same(resume(folder), expected)
  }
  expect_gt(in_the_middle, 0)
})

test_that("a checkpoint of every moment gives the whole model", {
  sim <- sim_small()
  arguments <- list(
    x = sim$counts, batch = sim$batch, seed = 1, max_epochs = 5, min_genes = 50,
    likelihood = "poisson", connections = list(alpha_init = 0.3), batches = list(beta = 0.4),
    training = list(sampling = "shuffle"), early_stopping = TRUE
  )
  expected <- suppressWarnings(do.call(quick_fit, arguments))
  folder <- file.path(withr::local_tempdir(), "new")
  fit <- do.call(quick_fit, c(arguments, checkpoint = folder, checkpoint_every = 2))
  expect_same(fit, expected)
  found <- resumeSCVAE(folder, sim$counts, batch = sim$batch, verbose = FALSE)
  expect_same(found, expected)
  expect_identical(found$history$seconds, rep(NA_real_, 5))
  expect_identical(as.character(found$call[[1]]), "resumeSCVAE")
  # The random numbers of R are not touched.
  set.seed(1)
  state <- random_state()
  resumeSCVAE(folder, sim$counts, batch = sim$batch, verbose = FALSE)
  expect_identical(random_state(), state)
})

test_that("cells that the filter dropped are as in the fit", {
  sim <- sim_small()
  folder <- withr::local_tempdir()
  fit <- suppressWarnings(quick_fit(
    sim$counts,
    seed = 1, min_genes = 150, filtered_cells = "NA", checkpoint = folder
  ))
  expect_true(any(!fit$trained_cells))
  go_on <- function(...) resumeSCVAE(folder, sim$counts, verbose = FALSE, ...)
  expect_warning(found <- go_on(filtered_cells = "NA"), class = "scvae_warning_filtered")
  expect_same(found, fit)
  expect_false(anyNA(suppressWarnings(go_on())$latent))
})

test_that("the batches are those of the fit", {
  skip_if_not_installed("SingleCellExperiment")
  sim <- sim_small()
  object <- SingleCellExperiment::SingleCellExperiment(
    list(counts = sim$counts),
    colData = data.frame(donor = sim$batch, other = rev(sim$batch))
  )
  folder <- withr::local_tempdir()
  fit <- quick_fit(object, batch = "donor", seed = 1, checkpoint = folder)
  expect_identical(fit$batch_column, "donor")
  go_on <- function(x, ...) resumeSCVAE(folder, x, ..., verbose = FALSE)
  expect_same(go_on(object), fit)
  # From elsewhere, but the same.
  from_vector <- go_on(sim$counts, batch = sim$batch)
  expect_same(from_vector, fit)
  of_batch <- c("batch_column", "covariates")
  expect_identical(from_vector[of_batch], fit[of_batch])
  renamed <- sub("batch", "sample", sim$batch)
  expect_snapshot(cat(
    error_text(go_on(sim$counts)),
    error_text(go_on(sim$counts, batch = renamed)),
    error_text(go_on(object, batch = "other")),
    error_text(go_on(object, batch = rep("batch_1", 300))),
    sep = "\n"
  ))
  without <- withr::local_tempdir()
  quick_fit(sim$counts, seed = 1, checkpoint = without)
  expect_snapshot(cat(
    error_text(resumeSCVAE(without, sim$counts, batch = sim$batch, verbose = FALSE))
  ))
})

test_that("other counts, settings and forms are refused", {
  sim <- sim_small()
  folder <- withr::local_tempdir()
  quick_fit(sim$counts, seed = 1, checkpoint = folder)
  go_on <- function(x, ...) resumeSCVAE(folder, x, ..., verbose = FALSE)
  other <- sim$counts
  other@x[1] <- other@x[1] + 1
  names <- sim$counts
  rownames(names) <- rev(rownames(names))
  expect_snapshot(cat(
    error_text(go_on(other)),
    error_text(go_on(names)),
    error_text(go_on(sim$counts[, 300:1])),
    error_text(go_on(sim$counts[, -1])),
    error_text(go_on(sim$counts, lr = 0.1)),
    error_text(go_on(sim$counts, seed = 1)),
    error_text(go_on(sim$counts, checkpoint_every = 0)),
    error_text(go_on(sim$counts, on_interrupt = "go")),
    error_text(resumeSCVAE(NULL, sim$counts)),
    sep = "\n"
  ))
  expect_error(resumeSCVAE(file.path(folder, "no"), sim$counts), class = "scvae_error_file")
  file <- file.path(folder, "checkpoint.safetensors")
  bytes <- readBin(file, "raw", file.size(file))
  damage <- function(bytes) {
    writeBin(bytes, file)
    text <- error_text(go_on(sim$counts))
    expect_match(text, "scvae_error_model")
    expect_match(text, "checkpoint.safetensors", fixed = TRUE)
  }
  damage(bytes[1:1000])
  at <- length(bytes) - 10
  damage(replace(bytes, at, xor(bytes[at], as.raw(1))))
  damage(quick_fit(sim$counts, seed = 1)$model)
  unlink(file)
  expect_error(go_on(sim$counts), "start it again", class = "scvae_error_file")
})

test_that("the folder is looked at before anything else is done", {
  sim <- sim_small()
  fit <- function(folder, x = "no.h5ad", ...) quick_fit(x, checkpoint = folder, seed = 1, ...)
  folder <- withr::local_tempdir()
  withr::local_dir(folder)
  file.create("file")
  fit("mine", sim$counts)
  expect_identical(list.files("mine"), "checkpoint.safetensors")
  expect_snapshot(cat(
    error_text(fit("mine")),
    error_text(fit("no/folder")),
    error_text(fit("file")),
    error_text(fit(1)),
    error_text(fit("other", checkpoint_every = 0)),
    sep = "\n"
  ))
  expect_false(dir.exists("other"))
  skip_on_os("windows")
  # Nothing can be created there, not even by root.
  skip_if_not(dir.exists("/proc"))
  expect_error(fit("/proc/self/task"), "Nothing can be written", class = "scvae_error_file")
})

test_that("the wrappers write checkpoints, too", {
  sim <- sim_small()
  kept <- withr::local_tempdir()
  go_on <- function(folder) {
    resumeSCVAE(folder, sim$counts, batch = sim$batch, verbose = FALSE)$latent
  }
  folder <- file.path(kept, "matrix")
  latent <- do.call(calculateSCVAE, c(
    list(sim$counts, batch = sim$batch, seed = 1, checkpoint = folder, checkpoint_every = 2),
    quick()
  ))
  expect_identical(go_on(folder), structure(latent, model = NULL))
  expect_null(attr(latent, "model")$settings$checkpoint)
  skip_if_not_installed("SeuratObject")
  folder <- file.path(kept, "seurat")
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(sim$counts))
  object$donor <- sim$batch
  object <- do.call(RunSCVAE, c(
    list(object, batch = "donor", checkpoint = folder, checkpoint_every = 2), quick()
  ))
  expect_identical(unname(go_on(folder)), unname(scvaeModel(object)$latent))
})

test_that("scScore() goes on after the fits that are done", {
  sim <- counts_and_batch()
  score <- function(..., n_repeats = 8) {
    arguments <- quick(n_hidden = 32, n_repeats = n_repeats, ...)
    do.call(scScore, c(list(sim$counts), arguments))
  }
  started <- Sys.time()
  expected <- score(seed = 5)
  seconds <- as.numeric(difftime(Sys.time(), started, units = "secs"))
  folder <- withr::local_tempdir()
  killed(function(folder, sim) {
    scVAE::scScore(
      sim$counts,
      min_genes = 20, n_hidden = 32, n_latent = 4, max_epochs = 2, n_repeats = 8,
      seed = 5, verbose = FALSE, checkpoint = folder
    )
  }, folder, "scscore-0001.safetensors", stats::runif(1, 0, 0.5) * seconds)
  writeBin(as.raw(1:100), file.path(folder, "scscore-0002.new"))
  # The seed is that of the folder, and R's random numbers are not touched.
  set.seed(1)
  state <- random_state()
  expect_identical(score(checkpoint = folder), expected)
  expect_identical(random_state(), state)
  # Fits that are there are not made again, and more can be added.
  started <- Sys.time()
  expect_identical(score(checkpoint = folder, threads = 2), expected)
  expect_lt(as.numeric(difftime(Sys.time(), started, units = "secs")), 0.5 * seconds)
  expect_identical(score(checkpoint = folder, n_repeats = 9), score(seed = 5, n_repeats = 9))
  expect_snapshot(cat(
    error_text(score(checkpoint = folder, seed = 6)),
    error_text(score(checkpoint = folder, max_epochs = NULL)),
    error_text(score(checkpoint = folder, likelihood = "nb")),
    error_text(score(checkpoint = folder, batch = sim$batch)),
    error_text(scScore(sim$counts[-1, ], checkpoint = folder, min_genes = 20)),
    sep = "\n"
  ))
  writeBin(as.raw(1:100), file.path(folder, "scscore-0001.safetensors"))
  expect_error(score(checkpoint = folder), "cannot be used", class = "scvae_error_model")
})

test_that("a fit that diverges says so and can be used", {
  sim <- sim_small()
  folder <- withr::local_tempdir()
  diverge <- function(seed, ...) {
    quick_fit(
      sim$counts,
      batch = sim$batch, likelihood = "nb", lr = 1, max_epochs = 60, seed = seed, ...
    )
  }
  # With such a rate some fits fail in the first epoch, some later, and some never.
  fails_later <- function(seed) {
    model <- tryCatch(suppressWarnings(diverge(seed)), scvae_error_numerical = function(e) NULL)
    identical(model$stopped, "diverged")
  }
  seed <- Find(fails_later, 1:30)
  warning <- expect_warning(
    model <- diverge(seed, checkpoint = folder),
    class = "scvae_warning_diverged"
  )
  expect_identical(model$stopped, "diverged")
  expect_lt(model$epochs, 60)
  expect_match(
    cli::ansi_strip(conditionMessage(warning)),
    sprintf("after epoch %d .*`lr`, which is 1", model$epochs)
  )
  expect_match(format(model), "(diverged)", fixed = TRUE, all = FALSE)
  expect_true(all(is.finite(model$latent)))
  # The last good epoch is what is kept, and from there it diverges again.
  found <- suppressWarnings(resumeSCVAE(folder, sim$counts, batch = sim$batch, verbose = FALSE))
  expect_same(found, model)
})

test_that("repeats go on from their own checkpoints", {
  sim <- sim_small()
  whole <- quick_fit(sim$counts, seed = 3, n_repeats = 3, threads = 2)
  expect_identical(quick_fit(sim$counts, seed = 3, n_repeats = 3, threads = 1)$model, whole$model)
  folder <- withr::local_tempdir()
  kept <- quick_fit(sim$counts, seed = 3, n_repeats = 3, checkpoint = folder)
  expect_identical(kept$model, whole$model)
  expect_setequal(list.files(folder), c("checkpoint.safetensors", "fit-2", "fit-3"))
  # The second one was done, the third was not begun.
  unlink(file.path(folder, "fit-3", "checkpoint.safetensors"))
  changed <- file.mtime(file.path(folder, "fit-2", "checkpoint.safetensors"))
  again <- resumeSCVAE(folder, sim$counts, verbose = FALSE)
  expect_identical(again$model, whole$model)
  expect_identical(again$embedding, whole$embedding)
  expect_identical(again$stability, whole$stability)
  expect_identical(again$repeats$fit, 1:3)
  expect_identical(file.mtime(file.path(folder, "fit-2", "checkpoint.safetensors")), changed)
})
