# Loads batchelor. Where it is not installed, a stand-in of that name is loaded instead
# (fixtures/batchelor): it has batchelor's class BatchelorParam and its generic batchCorrect(), with
# the arguments that batchelor documents, but no method of correction. So the tests show that scVAE
# keeps to batchelor's contract as it is written, not that it works with a certain version of it.
load_batchelor <- function() {
  skip_if_not_installed("SingleCellExperiment")
  if (requireNamespace("batchelor", quietly = TRUE)) {
    return(invisible())
  }
  library <- withr::local_tempdir(.local_envir = testthat::teardown_env())
  log <- system2(
    file.path(R.home("bin"), "R"),
    c(
      "CMD", "INSTALL", "--no-docs", "--no-test-load", "--no-byte-compile",
      paste0("--library=", shQuote(library)), shQuote(test_path("fixtures", "batchelor"))
    ),
    stdout = TRUE, stderr = TRUE
  )
  if (!dir.exists(file.path(library, "batchelor"))) {
    stop("The stand-in for batchelor was not installed:\n", paste(log, collapse = "\n"))
  }
  loadNamespace("batchelor", lib.loc = library)
  invisible()
}
