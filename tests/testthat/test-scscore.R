test_that("the score of a model is that of its connections", {
  model <- quick_fit(sim_small()$counts, seed = 1)
  score <- scScore(model)
  expect_identical(score, stats::setNames(model$genes$scscore, model$genes$gene))
  details <- scScore(model, details = TRUE)
  expect_identical(names(details), c("gene", "scscore", "n_connections", "se"))
  expect_error(scScore(model, detail = TRUE), class = "scvae_error_argument")
})

test_that("the score of counts averages over fits", {
  sim <- sim_small()
  score <- function(..., n_repeats = 3) {
    do.call(scScore, c(list(sim$counts, batch = sim$batch), quick(n_repeats = n_repeats, ...)))
  }
  details <- score(seed = 1, details = TRUE)
  expect_identical(details$gene, rownames(sim$counts))
  kept <- !is.na(details$scscore)
  expect_identical(kept, unname(Matrix::rowSums(sim$counts > 0) >= 3))
  expect_identical(range(details$scscore[kept]), c(0, 1))
  # The fits do not depend on how many follow, so each one's numbers can be told from the means.
  mean_of <- function(n) score(seed = 1, details = TRUE, n_repeats = n)$n_connections[kept]
  first <- mean_of(1)
  second <- 2 * mean_of(2) - first
  third <- 3 * details$n_connections[kept] - first - second
  spread <- apply(cbind(first, second, third), 1, stats::sd)
  expect_gt(max(spread), 0)
  expect_equal(details$se[kept], spread / sqrt(3), tolerance = 1e-8)
  expect_identical(score(seed = 1), stats::setNames(details$scscore, details$gene))
  set.seed(2)
  first <- score()
  set.seed(2)
  expect_identical(score(), first)
})

test_that("informative genes are chosen by threshold or number", {
  score <- c(b = 0.7, a = 0.7, c = 1, d = 0.1, e = NA)
  # Genes of the same score keep their order.
  expect_identical(informativeGenes(score), c("c", "b", "a"))
  expect_identical(informativeGenes(score, n = 4), c("c", "b", "a", "d"))
  expect_identical(informativeGenes(score, threshold = 0.8, n = 4), "c")
  expect_identical(informativeGenes(score, threshold = 0.05), c("c", "b", "a", "d"))
  model <- quick_fit(sim_small()$counts, seed = 1)
  expect_identical(informativeGenes(model), informativeGenes(scScore(model)))
  expect_identical(informativeGenes(scScore(model, details = TRUE)), informativeGenes(model))
  expect_silent(informativeGenes(score, n = 3))
  warning <- expect_warning(
    expect_identical(informativeGenes(score, n = 2), c("c", "b")),
    class = "scvae_warning_ties"
  )
  expect_match(cli::ansi_strip(conditionMessage(warning)), "2 genes have the same score, 0.7")
  expect_error(informativeGenes(1:3), class = "scvae_error_argument")
  expect_error(informativeGenes(score, threshold = 2), class = "scvae_error_argument")
})

test_that("the criterion of the connections can be chosen", {
  sim <- simulateCounts(n_cells = 200, n_genes = 300, seed = 1)
  fit <- function(...) {
    fitSCVAE(
      sim$counts,
      connections = connectionControl(...), min_genes = 10, max_epochs = 12, n_hidden = 16,
      seed = 1, threads = 1, verbose = FALSE
    )
  }
  default <- fit()
  expect_identical(fit(criterion = "mse")$model, default$model)
  criteria <- setdiff(eval(formals(connectionControl)$criterion), "mse")
  others <- lapply(criteria, function(criterion) fit(criterion = criterion)$genes$n_connections)
  for (connections in others) {
    # The total stays, what goes where does not.
    expect_identical(sum(connections), sum(default$genes$n_connections))
    expect_false(identical(connections, default$genes$n_connections))
  }
  expect_length(unique(others), length(criteria))
  expect_error(connectionControl(criterion = "variance"), class = "scvae_error_argument")
})
