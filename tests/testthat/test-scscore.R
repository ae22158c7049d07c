score_sim <- function(sim, ..., n_repeats = 3) {
  do.call(scScore, c(list(sim$counts, batch = sim$batch), quick(n_repeats = n_repeats, ...)))
}

connections_of <- function(score) S4Vectors::metadata(score)$connections

test_that("the score of a model is that of its connections", {
  model <- quick_fit(sim_small()$counts, seed = 1)
  score <- scScore(model)
  expect_s4_class(score, "DataFrame")
  expect_identical(names(score), c(
    "scscore", "se", "rank", "n_connections", "explained", "signal", "mean", "detected",
    "agreement", "p.value", "FDR"
  ))
  expect_identical(rownames(score), model$genes$gene)
  expect_identical(score$scscore, model$genes$scscore)
  expect_identical(score$n_connections, model$genes$n_connections)
  for (unknown in c("se", "agreement", "p.value", "FDR")) {
    expect_true(all(is.na(score[[unknown]])))
  }
  expect_error(scScore(model, detail = TRUE), class = "scvae_error_argument")
})

test_that("what is known of the genes is what the counts and the model say", {
  sim <- sim_small()
  model <- quick_fit(sim$counts, seed = 1)
  score <- scScore(model)
  counts <- sim$counts[model$genes$kept, model$trained_cells]
  kept <- score[model$genes$kept, ]
  expect_equal(kept$mean, unname(Matrix::rowMeans(counts)))
  expect_equal(kept$detected, unname(Matrix::rowMeans(counts > 0)))
  scale <- predict(model, counts, "px_scale") * stats::median(Matrix::colSums(counts))
  variance <- rowMeans((scale - rowMeans(scale))^2)
  expect_equal(kept$signal, unname(variance / rowMeans(scale)), tolerance = 1e-3)
  file <- withr::local_tempfile()
  saveSCVAE(model, file)
  expect_identical(scScore(loadSCVAE(file))$explained, kept$explained)
})

test_that("the score of counts averages over fits", {
  sim <- sim_small()
  score <- score_sim(sim, seed = 1)
  kept <- !is.na(score$scscore)
  expect_identical(kept, unname(Matrix::rowSums(sim$counts > 0) >= 3))
  expect_identical(range(score$scscore[kept]), c(0, 1))
  connections <- connections_of(score)
  expect_identical(dim(connections), c(nrow(sim$counts), 3L))
  # The fits do not depend on how many follow.
  expect_identical(connections_of(score_sim(sim, seed = 1, n_repeats = 1))[, 1], connections[, 1])
  expect_equal(score$n_connections, unname(rowMeans(connections)))
  width <- diff(range(score$n_connections, na.rm = TRUE))
  spread <- apply(connections[kept, ], 1, stats::sd) / sqrt(3)
  expect_equal(score$se[kept], unname(spread / width), tolerance = 1e-8)
  expect_gt(max(spread), 0)
  expect_true(all(score$agreement[kept] >= 0 & score$agreement[kept] <= 1))
  set.seed(2)
  first <- score_sim(sim)
  set.seed(2)
  expect_identical(score_sim(sim), first)
})

test_that("ranks have no ties: connections first, then the signal", {
  score <- score_sim(sim_small(), seed = 1, n_repeats = 2)
  score <- score[!is.na(score$scscore), ]
  expect_setequal(score$rank, seq_len(nrow(score)))
  expect_gt(anyDuplicated(score$scscore), 0)
  ranked <- score[order(score$rank), ]
  expect_false(is.unsorted(-ranked$scscore))
  ties <- split(ranked$signal, ranked$n_connections)
  expect_true(all(vapply(ties, function(x) !is.unsorted(-x), logical(1))))
})

test_that("a model holds the score of its repeats", {
  sim <- sim_small()
  fit <- function(...) quick_fit(sim$counts, batch = sim$batch, seed = 1, ...)
  model <- fit(n_repeats = 3)
  alone <- fit()
  expect_identical(scScore(model), score_sim(sim, seed = 1, null = FALSE))
  expect_identical(scScore(alone), score_sim(sim, seed = 1, null = FALSE, n_repeats = 1))
  expect_identical(model$genes$scscore, scScore(model)$scscore)
})

test_that("p-values tell genes with structure from others", {
  # Half of the genes are told apart by type.
  sim <- simulateCounts(
    n_cells = 300, n_genes = 400, n_types = 2, n_batches = 1, n_markers = 100, marker_fold = 8,
    library_size = 1000, seed = 3
  )
  score <- scScore(
    sim$counts,
    min_genes = 10, max_epochs = 60, n_hidden = 32, n_repeats = 2, seed = 1, threads = 1,
    verbose = FALSE
  )
  marker <- rownames(score) %in% sim$markers$gene
  expect_gt(mean(score$FDR[marker] < 0.05, na.rm = TRUE), 0.5)
  expect_lt(stats::median(score$p.value[marker], na.rm = TRUE), 0.02)
  null <- S4Vectors::metadata(score)$null
  expect_identical(nrow(null), sum(!is.na(score$scscore)))
  expect_true(all(null$gene %in% rownames(score)))
  expect_gte(min(score$p.value, na.rm = TRUE), 1 / (1 + nrow(null)))
  expect_equal(score$FDR, stats::p.adjust(score$p.value, "BH"))
})

test_that("p-values are uniform where there is no structure", {
  withr::local_seed(1)
  counts <- matrix(stats::rnbinom(300 * 400, mu = 0.7, size = 2), 400)
  score <- scScore(
    counts,
    min_genes = 10, max_epochs = 40, n_hidden = 32, n_repeats = 1, seed = 1, threads = 1,
    verbose = FALSE
  )
  expect_true(all(score$FDR > 0.05))
  # 400 p-values, and as many copies: the share below has a standard error of .035.
  expect_lt(abs(mean(score$p.value <= 0.5) - 0.5), 0.12)
})

test_that("the fits can be made by other processes, which may die", {
  skip_if_not_installed("BiocParallel")
  sim <- sim_small()
  here <- score_sim(sim, seed = 1)
  param <- BiocParallel::SerialParam()
  expect_identical(score_sim(sim, seed = 1, BPPARAM = param), here)
  param <- BiocParallel::SnowParam(2)
  expect_identical(score_sim(sim, seed = 1, BPPARAM = param), here)
  expect_error(score_sim(sim, BPPARAM = 2), class = "scvae_error_argument")
  # What fails for a reason of its own says so, and is not tried again.
  expect_error(
    score_sim(sim, seed = 1, lr = 1, kl_weight = 0, max_epochs = 30, BPPARAM = param),
    "lower lr",
    class = "scvae_error_numerical", ignore.case = TRUE
  )
})

test_that("a fit whose worker died is made again", {
  skip_if_not_installed("BiocParallel")
  skip_on_os("windows")
  sim <- sim_small()
  here <- score_sim(sim, seed = 1)
  marker <- withr::local_tempfile()
  # Kills itself in the second fit, once.
  original <- fit_task
  replace_in_package("fit_task", function(number, task) {
    if (number == 2 && !file.exists(marker)) {
      file.create(marker)
      tools::pskill(Sys.getpid(), tools::SIGKILL)
    }
    original(number, task)
  })
  param <- BiocParallel::MulticoreParam(2)
  expect_warning(
    expect_warning(
      found <- score_sim(sim, seed = 1, BPPARAM = param),
      "did not deliver"
    ),
    class = "scvae_warning_worker"
  )
  expect_identical(found, here)
})

test_that("a file is opened by each worker", {
  skip_if_not_installed("BiocParallel")
  file <- test_data("pbmc_kang_ctrl.h5ad")
  score <- function(...) {
    scScore(
      file,
      max_epochs = 1, n_hidden = 16, n_repeats = 2, seed = 1, verbose = FALSE, ...
    )
  }
  expect_identical(score(BPPARAM = BiocParallel::SnowParam(2)), score(threads = 1))
})

test_that("informative genes are chosen by threshold, number, proportion or FDR", {
  score <- c(b = 0.7, a = 0.7, c = 1, d = 0.1, e = NA)
  # Genes of the same score keep their order.
  expect_identical(informativeGenes(score), c("c", "b", "a"))
  expect_identical(informativeGenes(score, n = 4), c("c", "b", "a", "d"))
  expect_identical(informativeGenes(score, n = 2), c("c", "b"))
  expect_identical(informativeGenes(score, prop = 0.5), c("c", "b"))
  expect_identical(informativeGenes(score, threshold = 0.8, n = 4), "c")
  expect_identical(informativeGenes(score, threshold = 0.05), c("c", "b", "a", "d"))
  model <- quick_fit(sim_small()$counts, seed = 1)
  table <- scScore(model)
  expect_identical(informativeGenes(model), informativeGenes(table))
  expect_identical(informativeGenes(as.data.frame(table)), informativeGenes(table))
  expect_identical(informativeGenes(model, n = 10), rownames(table)[order(table$rank)][1:10])
  expect_error(informativeGenes(model, n = 1e10), "2147483647", class = "scvae_error_argument")
  table$FDR <- ifelse(table$rank %in% c(5, 9), 0.01, 0.5)
  expect_identical(
    informativeGenes(table, fdr.threshold = 0.05), rownames(table)[match(c(5, 9), table$rank)]
  )
  expect_error(informativeGenes(model, fdr.threshold = 0.05), class = "scvae_error_argument")
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
  criteria <- eval(formals(connectionControl)$criterion)
  expect_identical(fit(criterion = criteria[1])$model, default$model)
  others <- lapply(criteria[-1], function(criterion) fit(criterion = criterion)$genes$n_connections)
  for (connections in others) {
    # The total stays, what goes where does not.
    expect_identical(sum(connections), sum(default$genes$n_connections))
    expect_false(identical(connections, default$genes$n_connections))
  }
  expect_length(unique(others), length(criteria) - 1)
  expect_error(connectionControl(criterion = "variance"), class = "scvae_error_argument")
})
