test_that("Ctrl-C ends the reading of a file, and R goes on", {
  skip_on_cran()
  skip_on_os("windows")
  skip_if_not_installed("callr")
  path <- test_data("pbmc_kang_ctrl.h5ad")
  started <- withr::local_tempfile()
  process <- callr::r_bg(
    function(path, started) {
      file.create(started)
      interrupted <- tryCatch(
        repeat scVAE:::rust_call(scVAE:::rs_read_counts(path, NULL)),
        interrupt = function(e) Sys.time()
      )
      again <- scVAE:::rust_call(scVAE:::rs_read_counts(path, NULL))
      list(interrupted = interrupted, n_cells = again$n_cells)
    },
    list(path = path, started = started)
  )
  withr::defer(process$kill())
  deadline <- Sys.time() + 30
  while (!file.exists(started) && Sys.time() < deadline) Sys.sleep(0.1)
  Sys.sleep(1)
  pressed <- Sys.time()
  process$interrupt()
  process$wait(20000)
  result <- process$get_result()
  expect_lt(as.numeric(result$interrupted - pressed, units = "secs"), 0.5)
  expect_gt(result$n_cells, 0)
})
