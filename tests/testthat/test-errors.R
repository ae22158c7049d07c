# Every mistake gets an error with a class, the argument's name, its value and the cure.

test_that("settings out of range are named with value and cure", {
  x <- sim_small()$counts
  expect_snapshot({
    cat(error_text(fitSCVAE(x, n_hidden = -1)))
    cat(error_text(fitSCVAE(x, n_latent = 2.5)))
    cat(error_text(fitSCVAE(x, max_epochs = 0)))
    cat(error_text(fitSCVAE(x, lr = "fast")))
    cat(error_text(fitSCVAE(x, dropout_rate = 1)))
    cat(error_text(fitSCVAE(x, likelihood = "znb")))
    cat(error_text(fitSCVAE(x, fc_layer = NA)))
    cat(error_text(fitSCVAE(x, verbose = "yes")))
    cat(error_text(fitSCVAE(x, early_stopping = TRUE, train_size = 1)))
    cat(error_text(fitSCVAE(x, connections = 3)))
    cat(error_text(fitSCVAE(x, connections = list(alpha_ini = 0.3))))
    cat(error_text(connectionControl(alpha_init = 0.7)))
    cat(error_text(trainingControl(sampling = "shufle")))
    cat(error_text(fitSCVAE(x, seed = -1)))
  })
})

test_that("every numeric setting is checked", {
  x <- sim_small()$counts
  # From the function itself, so that a new setting cannot be forgotten.
  is_number <- function(default) is.null(default) || is.numeric(default)
  numbers_of <- function(f) {
    setdiff(names(Filter(is_number, as.list(formals(f)))), c("batch", "checkpoint", "..."))
  }
  numeric_settings <- numbers_of(fitSCVAE)
  expect_true(all(c("lr", "seed", "threads", "max_epochs") %in% numeric_settings))
  complains <- function(f, args, name) {
    error <- expect_error(do.call(f, args), class = "scvae_error_argument")
    # The argument itself, not a name that holds it or a cure that mentions it.
    expect_match(
      cli::ansi_strip(conditionMessage(error)), sprintf("^`%s` must be one (whole )?number", name)
    )
  }
  for (name in numeric_settings) {
    for (bad in list(-1, NA_real_, Inf, "a", c(1, 2), list())) {
      complains(fitSCVAE, c(list(x), stats::setNames(list(bad), name)), name)
    }
  }
  for (control in list(connectionControl, trainingControl, batchControl)) {
    for (name in numbers_of(control)) {
      for (bad in list(-1, NaN, "a")) {
        complains(control, stats::setNames(list(bad), name), name)
      }
    }
  }
})

test_that("a value beyond the machine's integers is told the limit", {
  expect_snapshot(cat(error_text(fitSCVAE(sim_small()$counts, seed = 2^31))))
})

test_that("R's defaults are Rust's", {
  first <- function(default) {
    value <- eval(default, asNamespace("scVAE"))
    if (is.character(value)) value[1] else value
  }
  defaults <- function(f, without) {
    lapply(as.list(formals(f))[setdiff(names(formals(f)), without)], first)
  }
  ours <- c(
    defaults(fitSCVAE, c(
      "x", "batch", "...", "connections", "training", "batches", "seed", "threads", "verbose",
      option_names()
    )),
    defaults(connectionControl, character()),
    defaults(trainingControl, "on_interrupt"),
    batch_settings(defaults(batchControl, character()))
  )
  theirs <- rs_default_settings()
  # What R always gives.
  theirs$seed <- NULL
  expect_identical(sort(names(ours)), sort(names(theirs)))
  for (name in names(ours)) {
    expect_equal(theirs[[name]], ours[[name]], info = name)
  }
})

test_that("unknown arguments are refused and the nearest is named", {
  x <- sim_small()$counts
  expect_snapshot({
    cat(error_text(fitSCVAE(x, max_epoch = 1)))
    cat(error_text(fitSCVAE(x, epochs = 1)))
    cat(error_text(fitSCVAE(x, bach = 1)))
    cat(error_text(fitSCVAE(x, assay = "RNA")))
    cat(error_text(fitSCVAE(x, NULL, 3)))
    cat(error_text(fitSCVAE(x, NULL, TRUE)))
    cat(error_text(scScore(x, n_repeat = 1)))
  })
})

test_that("names that other tools have are understood", {
  x <- sim_small()$counts
  suggestion <- function(expr) {
    sub(".*Did you mean `(.*)`\\?.*", "\\1", error_text(expr))
  }
  expect_identical(suggestion(fitSCVAE(x, learning_rate = 1)), "lr")
  expect_identical(suggestion(fitSCVAE(x, dims = 1:10)), "n_latent")
  expect_identical(suggestion(fitSCVAE(x, dims.use = 1:10)), "n_latent")
  expect_identical(suggestion(fitSCVAE(x, nn_epochs = 1)), "max_epochs")
  expect_identical(suggestion(fitSCVAE(x, n_layers = 2)), "fc_layer")
  expect_identical(suggestion(fitSCVAE(x, batch_key = "a")), "batch")
  expect_identical(suggestion(fitSCVAE(x, n_jobs = 2)), "threads")
  expect_identical(suggestion(fitSCVAE(x, theta = 2)), "batches = batchControl(beta = ...)")
  expect_identical(
    suggestion(fitSCVAE(x, alpha_init = 0.3)), "connections = connectionControl(alpha_init = ...)"
  )
  expect_identical(suggestion(scScore(x, learning_rate = 1)), "lr")
  path <- withr::local_tempfile(fileext = ".h5ad", lines = "text")
  expect_identical(suggestion(fitSCVAE(path, slot = "counts")), "layer")
})

test_that("a package that is missing is named with the command that installs it", {
  expect_match(error_text(need_package("noSuchPackage", "to test")),
               "install.packages(\"noSuchPackage\")", fixed = TRUE)
  expect_identical(install_command("HDF5Array"), "BiocManager::install(\"HDF5Array\")")
})

test_that("batches are checked", {
  sim <- sim_small()
  x <- sim$counts
  expect_snapshot({
    cat(error_text(fitSCVAE(x, batch = "donor")))
    cat(error_text(fitSCVAE(x, batch = c("a", "b"))))
    cat(error_text(fitSCVAE(x, batch = replace(as.character(sim$batch), 5, NA))))
    cat(error_text(fitSCVAE(x, batch = replace(as.character(sim$batch), 5:6, "odd"))))
    cat(error_text(fitSCVAE(x, batch = list(1, 2))))
  })
})

test_that("values with names of cells must name all cells", {
  sim <- sim_small()
  x <- sim$counts
  batch <- stats::setNames(as.character(sim$batch), colnames(x))
  expected <- quick_fit(x, batch = batch, seed = 1)$batch
  expect_identical(quick_fit(x, batch = rev(batch), seed = 1)$batch, expected)
  # Names that are no cell's say nothing.
  others <- stats::setNames(batch, paste0("other", seq_along(batch)))
  expect_identical(quick_fit(x, batch = others, seed = 1)$batch, expected)
  unknown <- batch
  names(unknown)[7] <- "celll007"
  twice <- batch
  names(twice)[7] <- "cell008"
  table <- data.frame(donor = unname(batch), site = "a", row.names = names(unknown))
  expect_snapshot({
    cat(error_text(quick_fit(x, batch = unknown)))
    cat(error_text(quick_fit(x, batch = twice)))
    cat(error_text(quick_fit(x, batch = table)))
  })
})

test_that("a small batch gives a warning", {
  sim <- sim_small()
  batch <- replace(as.character(sim$batch), 1:10, "small")
  expect_warning(quick_fit(sim$counts, batch = batch), class = "scvae_warning_batch")
})

test_that("names must be there and unique", {
  x <- sim_small()$counts
  twice <- x
  colnames(twice)[2:4] <- colnames(x)[c(1, 1, 5)]
  empty <- x
  rownames(empty)[3:4] <- ""
  expect_snapshot({
    cat(error_text(fitSCVAE(twice)))
    cat(error_text(fitSCVAE(empty)))
  })
})

test_that("names are taken in any encoding that can be read", {
  sim <- sim_small()
  latin1 <- function(names, at, text) {
    names[at] <- iconv(text, "UTF-8", "latin1")
    names
  }
  x <- sim$counts
  rownames(x) <- latin1(rownames(x), 5, "Zinkfinger\u00e4")
  colnames(x) <- latin1(colnames(x), 5, "Sp\u00fcler")
  batch <- ifelse(sim$batch == "batch_1", iconv("K\u00f6ln", "UTF-8", "latin1"), "Bonn")
  model <- quick_fit(x, batch = batch, seed = 1)
  expect_identical(model$batch_names, c("Bonn", "K\u00f6ln"))
  expect_identical(model$genes$gene[5], "Zinkfinger\u00e4")
  expect_identical(rownames(model$latent)[5], "Sp\u00fcler")
  file <- withr::local_tempfile()
  saveSCVAE(model, file)
  again <- loadSCVAE(file)
  expect_identical(again$batch_names, model$batch_names)
  expect_identical(predict(again, x, batch = batch), model$latent)
  expect_identical(predict(model, x, batch = iconv("K\u00f6ln", "UTF-8", "latin1"), cells = 1:3),
                   predict(model, x, batch = "K\u00f6ln", cells = 1:3))
})

test_that("names that are no text are refused before any work", {
  sim <- sim_small()
  broken <- rawToChar(as.raw(c(0x4b, 0xf6, 0x6c, 0x6e)))
  x <- sim$counts
  rownames(x)[5] <- broken
  y <- sim$counts
  colnames(y)[6] <- broken
  Encoding(colnames(y)) <- "bytes"
  batch <- ifelse(sim$batch == "batch_1", broken, "Bonn")
  expect_snapshot({
    cat(error_text(quick_fit(x)))
    cat(error_text(quick_fit(y)))
    cat(error_text(quick_fit(sim$counts, batch = batch)))
  })
})

test_that("counts that lie on their side are refused with the cure", {
  x <- sim_small()$counts
  rownames(x)[1:4] <- c("MT-ND1", "RPL13A", "RPS27", "mt-Co1")
  ensembl <- x
  rownames(ensembl) <- sprintf("ENSMUSG%011d.1", seq_len(nrow(x)))
  expect_snapshot({
    cat(error_text(fitSCVAE(Matrix::t(x))))
    cat(error_text(fitSCVAE(as.matrix(Matrix::t(ensembl)))))
    cat(error_text(fitSCVAE(x, transposed = TRUE)))
    cat(error_text(fitSCVAE(Matrix::t(sim_small()$counts), min_genes = 400)))
  })
  expect_s3_class(quick_fit(Matrix::t(x), transposed = TRUE), "SCVAE")
  # Names alone decide: genes by genes are not refused.
  both <- methods::as(Matrix::crossprod(Matrix::t(x)) > 0, "dMatrix")
  expect_s3_class(as_counts(both), "scvae_counts")
})

test_that("inputs of the wrong kind are refused", {
  expect_snapshot({
    cat(error_text(fitSCVAE(data.frame(a = 1:3))))
    cat(error_text(fitSCVAE(1:10)))
    cat(error_text(fitSCVAE(matrix("a", 3, 3))))
    cat(error_text(fitSCVAE(matrix(1, 1, 5))))
  })
  expect_error(fitSCVAE("no_such_file.h5ad"), class = "scvae_error_file")
})

test_that("values that are no counts are refused with gene and cell", {
  x <- sim_small()$counts
  for (bad in c(0.5, -1, NaN, NA, Inf)) {
    wrong <- x
    wrong@x[100] <- bad
    expect_error(quick_fit(wrong), class = "scvae_error_counts")
    expect_error(quick_fit(as.matrix(wrong)), class = "scvae_error_counts")
  }
})

test_that("counts of which nothing is left are refused", {
  x <- sim_small()$counts
  expect_error(quick_fit(x * 0), class = "scvae_error_counts")
  expect_error(quick_fit(x, min_genes = 400), class = "scvae_error_counts")
  expect_error(quick_fit(x, min_cells = 301), class = "scvae_error_counts")
})

test_that("errors from Rust become conditions, whatever their text", {
  expect_error(
    rust_call(stop("scvae_error_numerical\u001fThe loss of {gene} is NaN.\nTry a smaller lr.")),
    class = "scvae_error_numerical"
  )
  expect_snapshot({
    cat(error_text(rust_call(stop("scvae_error_counts\u001fGene {x} <y>.\nThe cure."))))
    cat(error_text(rust_call(stop("something else"))))
  })
})

test_that("a progress report cannot fail", {
  progress <- new_progress(TRUE, "Training ", fit_progress)
  expect_null(progress$update("nonsense"))
  expect_null(progress$update(list()))
  progress$done()
  expect_null(new_progress(FALSE, "Training ", fit_progress)$update)
})
