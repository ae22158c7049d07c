test_that("without batches the embedding is in expression space, with batches latent", {
  sim <- sim_small()
  plain <- quick_fit(sim$counts, seed = 1)
  expect_false(is.null(plain$components))
  expect_null(quick_fit(sim$counts, seed = 1, embedding = "latent")$components)
  batched <- quick_fit(sim$counts, batch = sim$batch, seed = 1)
  expect_null(batched$components)
  expect_identical(batched$embedding, batched$latent)
  measured <- quick_fit(sim$counts, batch = sim$batch, seed = 1, embedding = "expression")
  expect_identical(measured$latent, batched$latent)
  expect_false(is.null(measured$components))
  expect_match(format(measured), "expression, \\d+ components", all = FALSE)
  expect_match(format(batched), "Embedding: +latent", all = FALSE)
})

test_that("places are the decoded log-expression along the loadings", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, seed = 1, max_epochs = 20)
  profile <- t(log1p(1e4 * predict(model, sim$counts, "px_scale")))
  profile <- scale(profile, scale = FALSE)
  components <- model$components
  expect_identical(rownames(components$loadings), colnames(profile))
  expect_equal(model$embedding, profile %*% components$loadings, tolerance = 1e-4)
  expect_equal(components$total_variance, sum(apply(profile, 2, stats::var)), tolerance = 1e-4)
  exact <- stats::prcomp(profile)$sdev[seq_along(components$sd)]
  expect_equal(unname(components$sd), exact, tolerance = 1e-3)
  expect_equal(components$sd, apply(model$embedding, 2, stats::sd), tolerance = 1e-3)
  expect_gte(sum(components$sd^2), 0.98 * components$total_variance * (1 - 1e-4))
  expect_identical(predict(model, sim$counts), model$embedding)
})

test_that("the embedding is the same from a file and after mapping", {
  sim <- sim_small()
  first <- sim$batch == "batch_1"
  model <- quick_fit(sim$counts[, first], seed = 1)
  file <- withr::local_tempfile(fileext = ".scvae")
  saveSCVAE(model, file)
  again <- loadSCVAE(file)
  expect_identical(again$components, model$components)
  expect_null(again$embedding)
  expect_identical(predict(again, sim$counts[, first]), model$embedding)
  mapped <- mapSCVAE(
    model, sim$counts[, !first], batch = "query", max_epochs = 2, seed = 1, verbose = FALSE
  )
  expect_identical(mapped$components, model$components)
  expect_identical(dim(mapped$embedding), c(sum(!first), ncol(model$embedding)))
  expect_identical(
    predict(mapped, sim$counts[, first], batch = "reference"), model$embedding
  )
  expect_identical(predict(mapped, sim$counts[, !first], batch = "query"), mapped$embedding)
})

test_that("repeats give the best model and an embedding of all", {
  sim <- sim_small()
  fit <- function(...) quick_fit(sim$counts, seed = 3, max_epochs = 60, ...)
  model <- fit(n_repeats = 3)
  alone <- fit()
  table <- model$repeats
  expect_identical(table$fit, 1:3)
  expect_identical(which(table$kept), which.min(table$elbo_validation))
  expect_identical(table$elbo_validation[1], utils::tail(alone$history$elbo_validation, 1))
  # The same cells validate: from others the losses would be some per cent apart.
  expect_lt(diff(range(table$elbo_validation)) / mean(table$elbo_validation), 0.01)
  expect_identical(scScore(model), scScore(sim$counts,
    min_genes = 20, n_hidden = 16, n_latent = 4, max_epochs = 60, n_repeats = 3, null = FALSE,
    seed = 3, verbose = FALSE
  ))
  # The kept model stands for itself where new cells come, near to what all agree on, as a fit that
  # is none of them is not.
  own <- predict(model, sim$counts)
  expect_identical(dim(own), dim(model$embedding))
  expect_false(identical(own, model$embedding))
  distances <- function(x) as.vector(stats::dist(x))
  near <- function(x) stats::cor(distances(x), distances(model$embedding))
  stranger <- quick_fit(sim$counts, seed = 99, max_epochs = 60)
  expect_gt(near(own), near(stranger$embedding) + 0.3)
  expect_equal(
    unname(model$components$sd), unname(apply(model$embedding, 2, stats::sd)),
    tolerance = 1e-3
  )
  expect_named(model$stability, colnames(sim$counts))
  with_batches <- quick_fit(sim$counts, batch = sim$batch, seed = 3, n_repeats = 2)
  expect_identical(with_batches$embedding, with_batches$latent)
  expect_length(with_batches$stability, 300)
})

test_that("stability is the share of neighbours that fits agree on", {
  set.seed(1)
  first <- matrix(stats::rnorm(200), 50)
  third <- first + stats::rnorm(200, sd = 0.5)
  expect_identical(unname(stability(list(first, 2 * first), FALSE)), rep(1, 50))
  neighbours <- function(x) {
    distance <- as.matrix(stats::dist(x))
    diag(distance) <- Inf
    lapply(seq_len(50), function(i) order(distance[i, ])[1:15])
  }
  both <- Map(intersect, neighbours(first), neighbours(third))
  shared <- lengths(both) / 15
  expect_equal(unname(stability(list(first, third), FALSE)), shared)
  three <- list(first, first, third)
  expect_equal(unname(stability(three, FALSE)), (1 + 2 * shared) / 3)
})

test_that("filtered cells are placed by the trained ones' components, or not at all", {
  sim <- sim_small()
  x <- sim$counts
  x[, c(3, 50)] <- 0
  x[1:5, c(3, 50)] <- 1
  embedded <- suppressWarnings(quick_fit(x, seed = 1, n_repeats = 2))
  hidden <- suppressWarnings(quick_fit(x, seed = 1, n_repeats = 2, filtered_cells = "NA"))
  expect_true(all(is.finite(embedded$embedding)))
  expect_identical(unname(which(is.na(hidden$embedding[, 1]))), c(3L, 50L))
  expect_identical(unname(which(is.na(hidden$stability))), c(3L, 50L))
  expect_identical(hidden$embedding[-c(3, 50), ], embedded$embedding[-c(3, 50), ])
})
