# Other packages use the same HDF5 library, in the same process.

# The result of R code in a new process: each has loaded nothing yet.
in_new_process <- function(code, ..., timeout = 120) {
  script <- withr::local_tempfile(fileext = ".R")
  result <- withr::local_tempfile(fileext = ".rds")
  inputs <- withr::local_tempfile(fileext = ".rds")
  saveRDS(list(...), inputs)
  lines <- c(
    sprintf(".libPaths(%s)", deparse1(.libPaths())),
    "text_of <- function(expr) {",
    "  tryCatch({ expr; \"no error\" }, error = function(e) {",
    "    paste(c(class(e)[1], cli::ansi_strip(conditionMessage(e))), collapse = \" \")",
    "  })",
    "}",
    "read <- function(path) {",
    "  text_of(scVAE:::rust_call(scVAE:::rs_read_counts(path, NULL, NULL, FALSE)))",
    "}",
    sprintf("inputs <- readRDS(%s)", deparse1(inputs)),
    "result <- local(", deparse(code), ")",
    sprintf("saveRDS(result, %s)", deparse1(result))
  )
  writeLines(lines, script)
  said <- suppressWarnings(system2(
    file.path(R.home("bin"), "Rscript"), c("--vanilla", shQuote(script)),
    stdout = TRUE, stderr = TRUE, timeout = timeout
  ))
  if (!file.exists(result)) {
    stop("The new process gave no result:\n", paste(said, collapse = "\n"))
  }
  readRDS(result)
}

# What a package does to read a file that is one, and one that is not.
readers <- list(
  rhdf5 = quote(function(path) rhdf5::h5closeAll(rhdf5::H5Fopen(path))),
  hdf5r = quote(function(path) hdf5r::H5File$new(path, "r")$close_all()),
  HDF5Array = quote(function(path) HDF5Array::H5SparseMatrix(path, "X")),
  Seurat = quote(function(path) Seurat::Read10X_h5(path))
)

for (package in names(readers)) {
  test_that(paste("files are read before and after", package), {
    skip_on_cran()
    skip_if_not_installed(package)
    path <- test_data("pbmc_kang_ctrl.h5ad")
    text <- withr::local_tempfile(lines = "not HDF5")
    theirs <- readers[[package]]
    # Twice: HDF5Array 1.26 fails by itself when it is asked again.
    alone <- in_new_process(bquote({
      theirs <- .(theirs)
      lapply(1:2, function(i) c(text_of(theirs(inputs$text)), text_of(theirs(inputs$path))))
    }), path = path, text = text)
    for (ours_first in c(TRUE, FALSE)) {
      result <- in_new_process(bquote({
        theirs <- .(theirs)
        first <- if (.(ours_first)) read(inputs$path)
        before <- c(text_of(theirs(inputs$text)), text_of(theirs(inputs$path)))
        ours <- c(read(inputs$path), read(inputs$text), read(inputs$path))
        after <- c(text_of(theirs(inputs$text)), text_of(theirs(inputs$path)))
        list(first = first, before = before, ours = ours, after = after)
      }), path = path, text = text)
      expect_identical(result$first, if (ours_first) "no error")
      expect_identical(result$before, alone[[1]])
      expect_identical(result$after, alone[[2]])
      expect_identical(result$ours[c(1, 3)], c("no error", "no error"))
      expect_match(result$ours[2], "^scvae_error_file .*is not an HDF5 file")
    }
  })
}

test_that("nothing of ours stays open", {
  skip_on_cran()
  skip_if_not_installed("rhdf5")
  path <- test_data("pbmc_kang_ctrl.h5ad")
  text <- withr::local_tempfile(lines = "not HDF5")
  result <- in_new_process(quote({
    loadNamespace("rhdf5")
    read(inputs$path)
    read(inputs$text)
    missing <- text_of(scVAE:::rust_call(scVAE:::rs_read_counts(inputs$path, "none", NULL, FALSE)))
    list(missing = missing, open = length(rhdf5::h5validObjects()))
  }), path = path, text = text)
  expect_match(result$missing, "^scvae_error_file .*has no layer 'none'")
  expect_identical(result$open, 0L)
})

test_that("a file that another package has open is read, and stays open", {
  skip_on_cran()
  skip_if_not_installed("hdf5r")
  path <- test_data("pbmc_kang_ctrl.h5ad")
  result <- in_new_process(quote({
    file <- hdf5r::H5File$new(inputs$path, "r")
    before <- file$ls()$name
    ours <- read(inputs$path)
    list(ours = ours, same = identical(file$ls()$name, before))
  }), path = path)
  expect_identical(result, list(ours = "no error", same = TRUE))
})
