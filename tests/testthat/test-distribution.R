test_that("the negative binomial is R's own", {
  grid <- expand.grid(
    x = c(0, 1, 2, 5, 40, 1e3, 1e5),
    mu = 10^seq(-8, 5),
    size = 10^seq(-4, 4)
  )
  ours <- dzinb(grid$x, grid$mu, grid$size, log = TRUE)
  r <- stats::dnbinom(grid$x, mu = grid$mu, size = grid$size, log = TRUE)
  expect_true(all(is.finite(ours)))
  expect_lt(max(abs(ours - r) / pmax(1, abs(r))), 1e-7)
})

test_that("extra zeros are mixed in", {
  grid <- expand.grid(
    x = c(0, 1, 7, 1e4), mu = 10^c(-8, 0, 5), size = 10^c(-4, 0, 4), p = c(0.001, 0.5, 0.999)
  )
  drawn <- stats::dnbinom(grid$x, mu = grid$mu, size = grid$size)
  mixed <- grid$p * (grid$x == 0) + (1 - grid$p) * drawn
  expect_equal(dzinb(grid$x, grid$mu, grid$size, grid$p), mixed, tolerance = 1e-8)
  expect_equal(sum(dzinb(0:2000, 3, 1.5, 0.4)), 1, tolerance = 1e-10)
})

test_that("wrong arguments are named", {
  expect_error(dzinb(-1, 1, 1), "`x` must be finite whole", class = "scvae_error_argument")
  expect_error(dzinb(1, 0, 1), "`px_rate` must be above 0", class = "scvae_error_argument")
  expect_error(dzinb(1, 1, NA), "`px_r` must be above 0", class = "scvae_error_argument")
  expect_error(dzinb(1, 1, 1, 1), "`px_dropout` must be", class = "scvae_error_argument")
  expect_length(dzinb(numeric(0), 1, 1), 0)
})

test_that("what is no finite number is refused", {
  for (wrong in list("1", NULL, factor(1), Inf)) {
    expect_error(dzinb(wrong, 1, 1), "`x` must be finite whole", class = "scvae_error_argument")
  }
})
