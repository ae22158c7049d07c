# evaluateEmbedding() against scib-metrics, scikit-learn and umap-learn: fixtures/metrics_values.csv
# is written by tests/reference/metrics_values.py.

skip_if_not_installed("igraph")
skip_if_not_installed("RANN")
skip_if_not_installed("uwot")

# The script's embeddings, by the same formulas.
reference_cases <- c("large", "mixed", "small")

reference_case <- function(name) {
  spec <- switch(name,
    large = c(n = 300, dim = 5, apart = 3, shift = 0.8),
    mixed = c(n = 300, dim = 5, apart = 0.4, shift = 0),
    small = c(n = 80, dim = 3, apart = 1, shift = 1.2)
  )
  i <- seq_len(spec[["n"]])
  j <- seq_len(spec[["dim"]])
  if (name == "small") {
    labels <- ifelse(i == spec[["n"]], 2, ifelse(i %% 5 < 3, 0, 1))
    batch <- ifelse(labels == 0, i %% 2, 0)
  } else {
    labels <- findInterval(abs(sin(1.7 * i)), c(0.45, 0.75, 0.95), left.open = TRUE)
    batch <- ifelse(labels == 3, i %% 2, i %% 3)
  }
  noise <- sin(outer(12.9898 * i, 78.233 * j, "+")) + sin(0.7 * outer(i, j) + 0.1 * i)
  centred <- noise + spec[["apart"]] * sin(2.1 * outer(labels + 1, j))
  effect <- cos(1.3 * outer(batch + 1, j))
  list(
    embedding = centred + spec[["shift"]] * effect,
    labels = labels,
    batch = batch,
    before = centred + 2 * effect
  )
}

reference_values <- function(case) {
  table <- utils::read.csv(test_path("fixtures", "metrics_values.csv"))
  table <- table[table$case == case, ]
  stats::setNames(table$value, table$score)
}

values_of <- function(evaluation) stats::setNames(evaluation$value, evaluation$score)

# Three types, two batches, with or without a difference between these.
blobs <- function(n = 240, apart = 8, shift = 0) {
  i <- seq_len(n)
  labels <- rep(c("a", "b", "c"), length.out = n)
  batch <- rep(c("x", "y"), each = n / 2)
  uniform <- outer(i, sqrt(2:5)) %% 1
  noise <- matrix(stats::qnorm(0.01 + 0.98 * uniform), n)
  values <- noise + apart * outer(match(labels, letters), 1:4, function(l, j) sin(2 * l * j)) +
    shift * (batch == "y")
  dimnames(values) <- list(paste0("cell_", i), paste0("D_", 1:4))
  list(values = values, labels = labels, batch = batch)
}

quiet <- function(...) evaluateEmbedding(..., verbose = FALSE)

# What would be scored, without the seconds that the scores take.
scored <- function(embedding, labels = NULL, batch = NULL, reduction = NULL, unintegrated = NULL,
                   verbose = FALSE) {
  cells <- as_embedding(embedding, reduction, NULL)
  cells_to_score(cells, labels, batch, unintegrated, verbose, call = NULL)
}

# All scores of such an embedding, computed once: uwot collects the garbage several times per graph.
reference_results <- new.env()

reference_result <- function(name) {
  if (is.null(reference_results[[name]])) {
    case <- reference_case(name)
    reference_results[[name]] <- quiet(
      case$embedding, case$labels, case$batch,
      unintegrated = case$before
    )
  }
  reference_results[[name]]
}

test_that("scores without chance are those of scib-metrics", {
  for (name in reference_cases) {
    case <- reference_case(name)
    expected <- reference_values(name)
    expect_equal(sum(abs(case$embedding)), expected[["checksum"]], tolerance = 1e-12)
    found <- values_of(reference_result(name))
    scores <- c(
      "asw", "isolated_labels", "clisi", "batch_asw", "bras", "ilisi", "cilisi", "kbet",
      "graph_connectivity", "pcr_comparison"
    )
    expect_equal(found[scores], expected[scores], tolerance = 1e-6)
  }
})

test_that("NMI and ARI are those of scikit-learn", {
  i <- 1:60
  clusterings <- list(
    good = ifelse(i %% 7 == 0, 0, i %% 4),
    coarse = i %% 2,
    unrelated = findInterval(sin(1.7 * i), c(-0.5, 0.5), left.open = TRUE),
    one = i * 0,
    single = i,
    equal = 3 - i %% 4
  )
  expected <- reference_values("agreement")
  for (name in names(clusterings)) {
    found <- agreement(clusterings[[name]], i %% 4)
    expect_equal(found[["nmi"]], expected[[paste0("nmi_", name)]], tolerance = 1e-12)
    expect_equal(found[["ari"]], expected[[paste0("ari_", name)]], tolerance = 1e-12)
  }
  # More pairs than an integer holds.
  many <- rep(1:2, 1e5)
  expect_equal(agreement(many, many), list(nmi = 1, ari = 1))
})

test_that("F1 scores are those of the cluster that matches best", {
  labels <- factor(rep(c("a", "b", "c"), c(6, 3, 1)))
  clusters <- c(1, 1, 1, 1, 2, 2, 2, 2, 2, 3)
  # a: cluster 1 has precision 1 and recall 4/6; b: cluster 2 has 3/5 and 1; c: cluster 3 is it.
  f1 <- label_f1(clusters, labels)
  expect_equal(f1, c(a = 0.8, b = 0.75, c = 1))
  batch <- factor(c("x", "y", "x", "y", "x", "y", "x", "y", "x", "x"))
  expect_equal(isolated_f1(f1, labels, batch), 1)
  expect_equal(isolated_f1(f1, labels, factor(rep("x", 10))), mean(c(0.8, 0.75, 1)))
})

test_that("the graph of the clustering is that of umap-learn", {
  for (name in reference_cases) {
    expected <- reference_values(name)
    graph <- umap_graph(nearest_cells(reference_case(name)$embedding, 15))
    expect_identical(length(graph$weights), as.integer(expected[["graph_edges"]]))
    expect_equal(igraph::ecount(graph$graph), expected[["graph_edges"]])
    # Its weights have single precision there.
    expect_equal(sum(graph$weights), expected[["graph_weight"]], tolerance = 1e-4)
  }
})

test_that("clusterings are as good as those of igraph and scikit-learn in Python", {
  # Both start at random, so only where the clusters are clear.
  found <- values_of(reference_result("large"))
  scores <- c(
    "nmi_leiden", "ari_leiden", "nmi_kmeans", "ari_kmeans", "isolated_f1", "nmi_batch", "ari_batch"
  )
  expect_lt(max(abs(found[scores] - reference_values("large")[scores])), 0.03)
})

test_that("silhouette widths are those of the cluster package, in blocks too", {
  skip_if_not_installed("cluster")
  case <- reference_case("small")
  group <- case$labels + 1
  expected <- cluster::silhouette(group, stats::dist(case$embedding))[, "sil_width"]
  expect_equal(silhouette_widths(case$embedding, group), expected)
  expect_equal(silhouette_widths(case$embedding, group, block_values = 700), expected)
  # Far from the origin no digits are lost.
  expect_equal(silhouette_widths(case$embedding + 1e6, group), expected, tolerance = 1e-7)
})

test_that("the nearest cells are exact, and a cell is its own nearest", {
  case <- reference_case("small")
  x <- case$embedding
  x[21:30, ] <- x[rep(20, 10), ]
  found <- nearest_cells(x, 8)
  expect_identical(found$index[, 1], seq_len(nrow(x)))
  expect_false(any(apply(found$index, 1, anyDuplicated) > 0))
  all_distances <- as.matrix(stats::dist(x))
  expected <- t(apply(all_distances, 1, function(d) sort(d)[1:8]))
  expect_equal(found$distance, unname(expected))
  of_index <- matrix(all_distances[cbind(c(row(found$index)), c(found$index))], nrow(x))
  expect_equal(of_index, found$distance)
})

test_that("LISI does not depend on the size of its chunks", {
  case <- reference_case("large")
  near <- nearest_cells(case$embedding, 90)
  expect_identical(
    median_lisi(near, factor(case$labels), chunk = 7),
    median_lisi(near, factor(case$labels))
  )
})

test_that("good and bad embeddings are told apart", {
  good <- blobs()
  found <- values_of(quiet(good$values, good$labels, good$batch))
  expect_gt(found[["asw"]], 0.8)
  expect_gt(found[["clisi"]], 0.99)
  expect_gt(found[["ilisi"]], 0.8)
  expect_gt(found[["kbet"]], 0.9)
  expect_gt(found[["batch_asw"]], 0.9)
  clusterings <- c("nmi_leiden", "ari_leiden", "nmi_kmeans", "ari_kmeans")
  expect_equal(unname(found[clusterings]), rep(1, 4))
  split <- blobs(shift = 6)
  apart <- values_of(quiet(split$values, split$labels, split$batch))
  expect_lt(apart[["ilisi"]], 0.01)
  expect_identical(apart[["kbet"]], 0)
  expect_lt(apart[["batch_asw"]], 0.4)
  expect_lt(apart[["graph_connectivity"]], 0.6)
  # No structure at all: mixed batches, no types.
  nothing <- values_of(quiet(good$values * 0, good$labels, good$batch))
  expect_identical(nothing[["asw"]], 0.5)
  expect_identical(nothing[["nmi_kmeans"]], 0)
  expect_identical(nothing[["batch_asw"]], 1)
})

test_that("the means are those of Luecken et al.", {
  case <- reference_case("large")
  result <- reference_result("large")
  found <- values_of(result)
  bio <- mean(found[c("asw", "isolated_labels", "nmi_leiden", "ari_leiden", "clisi")])
  batch <- mean(
    found[c("batch_asw", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")]
  )
  expect_equal(found[["bio"]], bio)
  expect_equal(found[["batch"]], batch)
  expect_equal(found[["total"]], 0.6 * bio + 0.4 * batch)
  expect_identical(result$kind, rep(c("bio", "batch", "overall"), c(8, 9, 3)))
  without <- values_of(quiet(case$embedding, case$labels, case$batch))
  expect_identical(setdiff(names(found), names(without)), "pcr_comparison")
  others <- c("batch_asw", "ilisi", "kbet", "graph_connectivity")
  expect_equal(without[["batch"]], mean(found[others]))
})

test_that("only what can be scored is scored", {
  case <- reference_case("large")
  labels_only <- quiet(case$embedding, case$labels)
  expect_identical(
    labels_only$score,
    c(
      "asw", "nmi_leiden", "ari_leiden", "nmi_kmeans", "ari_kmeans", "clisi",
      "graph_connectivity"
    )
  )
  batch_only <- quiet(case$embedding, batch = case$batch, unintegrated = case$before)
  expect_identical(batch_only$score, c("ilisi", "pcr_comparison"))
  expect_equal(
    values_of(batch_only),
    reference_values("large")[c("ilisi", "pcr_comparison")],
    tolerance = 1e-6
  )
  expect_message(
    one_batch <- scored(case$embedding, case$labels, rep("only", 300), verbose = TRUE),
    "All cells are of batch"
  )
  expect_identical(one_batch, scored(case$embedding, case$labels))
  # No type with two batches: no mixing within types, so no mean of the batches.
  apart <- values_of(quiet(case$embedding, case$labels, case$labels))
  expect_true(all(is.na(apart[c("batch_asw", "bras", "cilisi", "kbet", "batch", "total")])))
  expect_false(is.na(apart[["bio"]]))
  # PCR of batches that explained nothing before.
  before <- cbind(rep(c(-1, 1), each = 150))
  nothing <- quiet(case$embedding, batch = rep(1:2, 150), unintegrated = before)
  expect_identical(values_of(nothing)[["pcr_comparison"]], NA_real_)
})

test_that("cells without coordinates or a label are left out, and it is said", {
  whole <- blobs()
  part <- whole
  part$values[c(3, 50), ] <- NA
  part$values[7, 2] <- NaN
  part$labels[c(7, 11)] <- NA
  expect_message(
    found <- evaluateEmbedding(part$values, part$labels, part$batch),
    "4 of 240 cells are left out: 3 without coordinates and 1 without a label"
  )
  expect_identical(attr(found, "n_cells"), 236L)
  expect_identical(attr(found, "n_left_out"), 4L)
  expect_silent(rest <- scored(part$values, part$labels, part$batch))
  kept <- -c(3, 7, 11, 50)
  expected <- scored(whole$values[kept, ], whole$labels[kept], whole$batch[kept])
  expect_identical(rest[c("values", "labels", "batch")], expected[c("values", "labels", "batch")])
})

test_that("labels and batches may be factors, numbers or named vectors", {
  case <- blobs()
  x <- case$values
  expected <- scored(x, case$labels, case$batch, unintegrated = x)
  expect_identical(expected$values, unname(x))
  expect_identical(expected$labels, factor(case$labels))
  labels <- factor(case$labels, levels = c("z", "c", "b", "a"))
  expect_identical(scored(x, labels, factor(case$batch), unintegrated = x), expected)
  expect_identical(
    scored(as.data.frame(x), labels, case$batch, unintegrated = as.data.frame(x)),
    expected
  )
  numbers <- scored(x, match(case$labels, letters), case$batch == "y", unintegrated = x)
  expect_identical(as.integer(numbers$labels), as.integer(expected$labels))
  expect_identical(as.integer(numbers$batch), as.integer(expected$batch))
  mixed <- rev(seq_along(labels))
  named <- function(values) stats::setNames(values, rownames(x))[mixed]
  expect_identical(
    scored(x, named(labels), named(case$batch), unintegrated = x[mixed, ]),
    expected
  )
  # Without names the order counts.
  expect_identical(
    scored(unname(x), named(labels), case$batch)$labels,
    rev(expected$labels)
  )
})

test_that("a model is scored by its embedding and its batches", {
  sim <- sim_small()
  sim$counts[, 3] <- 0
  model <- suppressWarnings(quick_fit(sim$counts, batch = sim$batch, seed = 1))
  found <- quiet(model, sim$cell_type)
  expect_identical(attr(found, "n_left_out"), 1L)
  expect_identical(attr(found, "n_labels"), 3L)
  expect_identical(attr(found, "n_batches"), 2L)
  latent <- unname(model$latent)
  latent[3, ] <- NA
  expect_identical(quiet(model), quiet(latent, batch = unname(sim$batch)))
  # No batch is not the same as no word about it.
  expect_error(quiet(model, batch = NULL), "nothing to compare", class = "scvae_error_argument")
  path <- withr::local_tempfile(fileext = ".safetensors")
  saveSCVAE(model, path)
  expect_error(evaluateEmbedding(loadSCVAE(path), sim$cell_type), class = "scvae_error_model")
})

test_that("Seurat objects are scored by a reduction, and columns are looked up", {
  skip_if_not_installed("SeuratObject")
  case <- blobs()
  counts <- Matrix::Matrix(1, 3, 240, dimnames = list(c("g1", "g2", "g3"), rownames(case$values)))
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(as(counts, "CsparseMatrix")))
  object$type <- case$labels
  object$donor <- factor(case$batch)
  reduction <- function(values, key) {
    colnames(values) <- paste0(key, 1:4)
    SeuratObject::CreateDimReducObject(values, key = key, assay = "RNA")
  }
  object[["scvae"]] <- reduction(case$values, "SCVAE_")
  object[["pca"]] <- reduction(case$values + 2 * (case$batch == "y"), "PC_")
  expected <- scored(case$values, case$labels, case$batch)
  expect_identical(scored(object, "type", "donor"), expected)
  expect_identical(scored(object, object$type, case$batch), expected)
  expect_identical(scored(object[["scvae"]], case$labels, case$batch), expected)
  pca <- SeuratObject::Embeddings(object[["pca"]])
  expect_identical(
    scored(object, "type", "donor", reduction = "pca"),
    scored(pca, case$labels, case$batch)
  )
  found <- quiet(object, batch = "donor", unintegrated = "pca")
  expect_identical(found, quiet(case$values, batch = case$batch, unintegrated = pca))
  expect_gt(values_of(found)[["pcr_comparison"]], 0.5)
  expect_snapshot({
    cat(error_text(evaluateEmbedding(object, "type", reduction = "umap")))
    cat(error_text(evaluateEmbedding(object, "type", "donor", unintegrated = "harmony")))
    cat(error_text(evaluateEmbedding(object[["pca"]], case$labels, reduction = "pca")))
  })
  error <- expect_error(evaluateEmbedding(object, "typ"), class = "scvae_error_argument")
  expect_match(conditionMessage(error), "Did you mean \"type\"?", fixed = TRUE)
  expect_error(evaluateEmbedding(object, "type", "doner"), class = "scvae_error_argument")
})

test_that("SingleCellExperiment objects are scored in the same way", {
  skip_if_not_installed("SingleCellExperiment")
  case <- blobs()
  sce <- SingleCellExperiment::SingleCellExperiment(
    list(counts = matrix(1, 2, 240, dimnames = list(NULL, rownames(case$values)))),
    colData = data.frame(type = case$labels, donor = case$batch),
    reducedDims = list(SCVAE = case$values, PCA = case$values[, 1:2])
  )
  expect_identical(scored(sce, "type", "donor"), scored(case$values, case$labels, case$batch))
  expect_identical(
    quiet(sce, batch = "donor", reduction = "PCA", unintegrated = "SCVAE"),
    quiet(case$values[, 1:2], batch = case$batch, unintegrated = case$values)
  )
  expect_error(quiet(sce, "type", reduction = "UMAP"), class = "scvae_error_argument")
  expect_error(quiet(sce, "kind"), class = "scvae_error_argument")
  plain <- as(sce, "SummarizedExperiment")
  expect_error(quiet(plain, "type"), class = "scvae_error_argument")
})

test_that("R's random numbers are left alone, unless the seed is drawn from them", {
  case <- reference_case("mixed")
  score <- function(...) {
    quiet(case$embedding, case$labels, max_silhouette = 100, resolutions = 1, ...)
  }
  set.seed(5)
  before <- random_state()
  first <- score()
  expect_identical(random_state(), before)
  set.seed(6, "Mersenne-Twister", "Ahrens-Dieter")
  expect_identical(score(), first)
  expect_identical(RNGkind()[2], "Ahrens-Dieter")
  RNGkind("default", "default")
  set.seed(5)
  drawn <- score(seed = NULL)
  expect_false(identical(random_state(), before))
  set.seed(5)
  expect_identical(score(seed = NULL), drawn)
})

test_that("silhouette widths of many cells are those of a part", {
  case <- reference_case("large")
  expect_message(
    found <- evaluateEmbedding(case$embedding, case$labels, case$batch, max_silhouette = 150),
    "150 of 300"
  )
  expect_identical(attr(found, "n_silhouette"), 150L)
  expect_identical(attr(found, "n_cells"), 300L)
  whole <- values_of(reference_result("large"))
  part <- values_of(found)
  of_part <- c("asw", "isolated_labels", "batch_asw")
  expect_lt(max(abs(part[of_part] - whole[of_part])), 0.05)
  expect_false(part[["asw"]] == whole[["asw"]])
  others <- c("nmi_leiden", "ari_leiden", "nmi_kmeans", "ari_kmeans", "clisi", "ilisi", "kbet")
  expect_identical(part[others], whole[others])
})

test_that("a label that the draw for the silhouettes misses is no mistake", {
  case <- reference_case("large")
  case$labels[7] <- 1.5
  for (seed in 1:3) {
    found <- quiet(case$embedding, case$labels, max_silhouette = 100, seed = seed)
    expect_false(anyNA(values_of(found)))
  }
})

test_that("the result is printed with what was scored", {
  case <- reference_case("large")
  case$embedding[5, ] <- NA
  scores <- quiet(case$embedding, case$labels, case$batch)
  # The clusterings' values depend on the version of igraph.
  chance <- grepl("nmi|ari|f1|bio|total", scores$score)
  scores$value[chance] <- 0.5
  expect_snapshot({
    scores
    scores[1:2, ]
    scores["score"][1:2, , drop = FALSE]
  })
  expect_snapshot(print(quiet(case$embedding, batch = case$batch)))
  both <- rbind(scores, scores)
  expect_output(print(both), "^ +score")
  expect_s3_class(scores, "data.frame")
})

test_that("mistakes are named", {
  case <- blobs()
  x <- unname(case$values)
  labels <- case$labels
  few <- replace(x, 10:240, NA)
  expect_snapshot({
    cat(error_text(evaluateEmbedding(x)))
    cat(error_text(evaluateEmbedding(matrix("a", 20, 2), labels)))
    cat(error_text(evaluateEmbedding(1:20, labels)))
    cat(error_text(evaluateEmbedding(x, labels[1:7])))
    cat(error_text(evaluateEmbedding(x, "cell_type")))
    cat(error_text(evaluateEmbedding(x, as.list(labels))))
    cat(error_text(evaluateEmbedding(x, rep("a", 240))))
    cat(error_text(evaluateEmbedding(x, 1:240)))
    cat(error_text(quiet(few, labels)))
    cat(error_text(evaluateEmbedding(x, labels, factor(case$batch[1:3]))))
    cat(error_text(evaluateEmbedding(x, labels, replace(case$batch, 4, NA))))
    cat(error_text(evaluateEmbedding(x, batch = rep("only", 240))))
    cat(error_text(evaluateEmbedding(x, labels, reduction = "pca")))
    cat(error_text(evaluateEmbedding(x, labels, unintegrated = x)))
    cat(error_text(evaluateEmbedding(x, labels, case$batch, unintegrated = x[1:9, ])))
    cat(error_text(evaluateEmbedding(x, labels, case$batch, unintegrated = few)))
    cat(error_text(evaluateEmbedding(x, labels, case$batch, unintegrated = "pca")))
    cat(error_text(evaluateEmbedding(x, labels, resolutions = 0)))
    cat(error_text(evaluateEmbedding(x, labels, max_silhouette = 10)))
    cat(error_text(evaluateEmbedding(x, labels, seed = -1)))
    cat(error_text(evaluateEmbedding(x, labels, verbose = "no")))
  })
})
