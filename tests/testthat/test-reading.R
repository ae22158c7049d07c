# A dense matrix of which nothing was written takes no room, but long to read: tens of seconds.
slow_file <- function(path) {
  rhdf5::h5createFile(path)
  for (table in c("obs", "var")) rhdf5::h5createGroup(path, table)
  n <- c(obs = 200000, var = 20000)
  for (table in names(n)) {
    rhdf5::h5write(paste0(table, seq_len(n[[table]])), path, paste0(table, "/_index"))
  }
  rhdf5::h5createDataset(
    path, "X", rev(unname(n)), chunk = c(20000, 10), storage.mode = "double"
  )
  rhdf5::h5closeAll()
}

test_that("Ctrl-C ends the reading of a file, and R goes on", {
  skip_on_cran()
  skip_on_os("windows")
  skip_if_not_installed("callr")
  skip_if_not_installed("rhdf5")
  path <- test_data("pbmc_kang_ctrl.h5ad")
  slow <- withr::local_tempfile(fileext = ".h5ad")
  slow_file(slow)
  started <- withr::local_tempfile()
  process <- callr::r_bg(
    function(slow, path, started) {
      read <- function(path) scVAE:::rust_call(scVAE:::rs_read_counts(path, NULL))
      file.create(started)
      ended <- tryCatch(
        {
          read(slow)
          "read to its end"
        },
        interrupt = function(e) Sys.time()
      )
      list(ended = ended, n_cells = read(path)$n_cells)
    },
    list(slow = slow, path = path, started = started)
  )
  withr::defer(process$kill())
  deadline <- Sys.time() + 30
  while (!file.exists(started) && Sys.time() < deadline) Sys.sleep(0.1)
  Sys.sleep(2)
  pressed <- Sys.time()
  process$interrupt()
  process$wait(60000)
  result <- process$get_result()
  expect_s3_class(result$ended, "POSIXct")
  expect_lt(as.numeric(result$ended) - as.numeric(pressed), 0.5)
  expect_gt(result$n_cells, 0)
})
