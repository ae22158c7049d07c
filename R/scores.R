# The scores behind evaluateEmbedding(), in the definitions of scib-metrics.

# Neighbours -------------------------------------------------------------------------------------

# The numbers are those of scib-metrics. All count the cell itself.
graph_neighbours <- 15
lisi_neighbours <- 90
kbet_neighbours <- 50

# Labels of fewer cells have no neighbourhoods of their own.
fewest_of_label <- 30

# The exact k nearest cells of every cell, itself first: index and distance, cells x k.
nearest_cells <- function(x, k) {
  found <- RANN::nn2(x, k = k)
  index <- found$nn.idx
  # Cells at the same place come in any order. Where another one took the first place, the cell
  # swaps with it, or pushes it out if it was not among the k.
  for (cell in which(index[, 1] != seq_len(nrow(x)))) {
    own <- match(cell, index[cell, ])
    if (!is.na(own)) {
      index[cell, own] <- index[cell, 1]
    }
    index[cell, 1] <- cell
  }
  list(index = index, distance = found$nn.dists)
}

# Silhouettes ------------------------------------------------------------------------------------

draw_cells <- function(n, most, seed, verbose) {
  if (n <= most) {
    return(seq_len(n))
  }
  if (verbose) {
    cli::cli_inform(c(i = "Silhouette widths are those of {most} of {n} cells, drawn at random."))
  }
  start_random(seed)
  sort(sample.int(n, most))
}

start_random <- function(seed) set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")

# The silhouette width of every cell, for groups numbered from 1, as cluster::silhouette() gives
# it, but block by block: the distances of all pairs would be 8 n^2 bytes.
silhouette_widths <- function(x, group, block_values = 2e6) {
  n <- nrow(x)
  size <- tabulate(group)
  # Squared distances by the binomial formula lose digits when the origin is far away.
  x <- sweep(x, 2, colMeans(x))
  norm <- rowSums(x^2)
  width <- numeric(n)
  per_block <- max(1, floor(block_values / n))
  for (cells in split(seq_len(n), (seq_len(n) - 1) %/% per_block)) {
    distance <- norm - 2 * tcrossprod(x, x[cells, , drop = FALSE])
    distance <- sqrt(pmax(distance + rep(norm[cells], each = n), 0))
    distance[cbind(cells, seq_along(cells))] <- 0
    to_group <- rowsum(distance, group)
    own <- cbind(group[cells], seq_along(cells))
    within <- to_group[own] / (size[group[cells]] - 1)
    to_group <- to_group / size
    to_group[own] <- Inf
    nearest <- apply(to_group, 2, min)
    width[cells] <- (nearest - within) / pmax(within, nearest)
  }
  # A group of one cell, or all at one place: no width, by convention 0.
  width[!is.finite(width)] <- 0
  width
}

# (s + 1) / 2 of the labels that occur in the fewest batches.
# `width` is that of the cells `drawn`. In how many batches a label occurs, all cells say.
isolated_width <- function(width, drawn, labels, batch) {
  n_batches <- rowSums(table(labels, batch) > 0)
  mean_width <- tapply(width, labels[drawn], mean)
  (mean_or_na(mean_width[n_batches == min(n_batches)]) + 1) / 2
}

batch_width <- function(x, labels, batch) {
  per_label <- vapply(split(seq_along(labels), labels), function(cells) {
    here <- droplevels(batch[cells])
    if (nlevels(here) < 2 || nlevels(here) == length(cells)) {
      return(NA_real_)
    }
    mean(1 - abs(silhouette_widths(x[cells, , drop = FALSE], as.integer(here))))
  }, 0)
  mean_or_na(per_label)
}

# Batch removal adapted silhouette: as batch_width(), but the other batches' cells are one group,
# and distances are cosines. These need no table of pairs: a cell's distances to a group of vectors
# of length 1 sum up to the group's size less the product with their sum.
bras <- function(x, labels, batch) {
  x <- x / sqrt(rowSums(x^2))
  x[!is.finite(x)] <- 0
  per_label <- vapply(split(seq_along(labels), labels), function(cells) {
    here <- as.integer(droplevels(batch[cells]))
    size <- tabulate(here)
    if (length(size) < 2 || length(size) == length(cells)) {
      return(NA_real_)
    }
    u <- x[cells, , drop = FALSE]
    sums <- rowsum(u, here)
    own <- size[here]
    to_own <- own - rowSums(u * sums[here, , drop = FALSE])
    to_all <- length(cells) - drop(u %*% colSums(u))
    within <- to_own / (own - 1)
    between <- (to_all - to_own) / (length(cells) - own)
    width <- (between - within) / pmax(within, between)
    width[!is.finite(width)] <- 0
    mean(1 - abs(width))
  }, 0)
  mean_or_na(per_label)
}

mean_or_na <- function(values) {
  values <- values[!is.na(values)]
  if (length(values) == 0) NA_real_ else mean(values)
}

# Clusterings ------------------------------------------------------------------------------------

# Normalised by the arithmetic mean of the entropies, as in scikit-learn.
agreement <- function(clusters, labels) {
  counts <- table(as.integer(clusters), as.integer(labels))
  # Numbers of pairs are too great for integers.
  storage.mode(counts) <- "double"
  n <- sum(counts)
  rows <- rowSums(counts)
  columns <- colSums(counts)
  entropy <- function(counts) -sum(counts / n * log(counts / n))
  joint <- entropy(counts[counts > 0])
  mutual <- entropy(rows) + entropy(columns) - joint
  pairs <- function(counts) sum(counts * (counts - 1) / 2)
  chance <- pairs(rows) * pairs(columns) / pairs(n)
  list(
    nmi = max(0, 2 * mutual / (entropy(rows) + entropy(columns))),
    ari = (pairs(counts) - chance) / ((pairs(rows) + pairs(columns)) / 2 - chance)
  )
}

# The clustering with the best NMI over all resolutions, and the best F1 score of each label.
best_leiden <- function(neighbours, labels, resolutions, seed) {
  graph <- umap_graph(neighbours)
  best <- NULL
  f1 <- 0
  for (resolution in resolutions) {
    clusters <- as.integer(leiden_clusters(graph, resolution, seed))
    score <- agreement(clusters, labels)
    f1 <- pmax(f1, label_f1(clusters, labels))
    if (is.null(best) || score$nmi > best$nmi) {
      best <- c(
        score,
        resolution = resolution, n_clusters = length(unique(clusters)), clusters = list(clusters)
      )
    }
  }
  c(best, f1 = list(f1))
}

# For each label the F1 score of the cluster that matches it best.
label_f1 <- function(clusters, labels) {
  counts <- table(clusters, labels)
  both <- outer(rowSums(counts), colSums(counts), `+`)
  apply(2 * counts / both, 2, max)
}

# The mean over the labels that occur in the fewest batches.
isolated_f1 <- function(f1, labels, batch) {
  n_batches <- rowSums(table(labels, batch) > 0)
  mean(f1[n_batches == min(n_batches)])
}

# UMAP's weighted graph of the nearest cells, as scanpy and Seurat build it.
umap_graph <- function(neighbours) {
  k <- min(graph_neighbours, ncol(neighbours$index))
  nearest <- list(
    idx = neighbours$index[, seq_len(k), drop = FALSE],
    dist = neighbours$distance[, seq_len(k), drop = FALSE]
  )
  weights <- uwot::similarity_graph(nn_method = nearest, n_threads = 0, verbose = FALSE)
  upper <- as(Matrix::triu(weights, 1), "TsparseMatrix")
  graph <- igraph::make_graph(rbind(upper@i, upper@j) + 1, n = nrow(weights), directed = FALSE)
  list(graph = graph, weights = upper@x)
}

leiden_clusters <- function(graph, resolution, seed) {
  # igraph in R takes R's random numbers.
  start_random(seed)
  arguments <- list(
    graph$graph,
    objective_function = "modularity", weights = graph$weights, n_iterations = 2
  )
  # The argument was renamed in igraph 2.
  known <- names(formals(igraph::cluster_leiden))
  name <- if ("resolution" %in% known) "resolution" else "resolution_parameter"
  arguments[[name]] <- resolution
  igraph::membership(do.call(igraph::cluster_leiden, arguments))
}

# k-means, the best of several starts by k-means++. Random starts, as kmeans(nstart = ) has them,
# often put two centres into one large type.
kmeans_clusters <- function(x, k, seed, starts = 10) {
  start_random(seed)
  x <- sweep(x, 2, colMeans(x))
  best <- NULL
  for (start in seq_len(starts)) {
    centres <- spread_centres(x, k)
    # Warnings that a start has not converged: the others are there for that.
    fit <- suppressWarnings(stats::kmeans(x, centres, iter.max = 100))
    if (is.null(best) || fit$tot.withinss < best$tot.withinss) {
      best <- fit
    }
  }
  best$cluster
}

# k-means++ (Arthur and Vassilvitskii 2007), of several candidates the one that helps most, as in
# scikit-learn. There are fewer centres where the cells are at fewer than k places.
spread_centres <- function(x, k) {
  candidates <- 2 + floor(log(k))
  chosen <- sample.int(nrow(x), 1)
  to_centre <- squared_distance(x, chosen)
  while (length(chosen) < k && any(to_centre > 0)) {
    drawn <- sample.int(nrow(x), candidates, replace = TRUE, prob = to_centre)
    nearer <- lapply(drawn, function(cell) pmin(to_centre, squared_distance(x, cell)))
    best <- which.min(vapply(nearer, sum, 0))
    chosen <- c(chosen, drawn[best])
    to_centre <- nearer[[best]]
  }
  x[chosen, , drop = FALSE]
}

squared_distance <- function(x, cell) {
  rowSums((x - rep(x[cell, ], each = nrow(x)))^2)
}

# Mixing -----------------------------------------------------------------------------------------

# LISI, which runs from 1 to the number of groups, in [0, 1].
scaled_lisi <- function(neighbours, groups) {
  (median_lisi(neighbours, groups) - 1) / (nlevels(groups) - 1)
}

# The median over the cells of the local inverse Simpson index.
median_lisi <- function(neighbours, groups, chunk = 20000) {
  n <- nrow(neighbours$index)
  k <- ncol(neighbours$index)
  perplexity <- floor(k / 3)
  groups <- as.integer(groups)
  lisi <- numeric(n)
  for (cells in split(seq_len(n), (seq_len(n) - 1) %/% chunk)) {
    # Without the cell itself: it has no weight.
    index <- neighbours$index[cells, -1, drop = FALSE]
    weights <- perplexity_weights(neighbours$distance[cells, -1, drop = FALSE], perplexity)
    group <- matrix(groups[index], nrow(index))
    simpson <- 0
    for (g in unique(groups)) {
      simpson <- simpson + rowSums(weights * (group == g))^2
    }
    lisi[cells] <- 1 / simpson
  }
  stats::median(lisi, na.rm = TRUE)
}

# Weights exp(-beta d) of the neighbours, cells x neighbours, summing to 1, with beta such that
# their entropy is that of the perplexity: LISI's own bisection, with its limits.
perplexity_weights <- function(distance, perplexity, tolerance = 1e-5, most = 50) {
  n <- nrow(distance)
  beta <- rep(1, n)
  low <- rep(-Inf, n)
  high <- rep(Inf, n)
  weights <- matrix(0, n, ncol(distance))
  open <- seq_len(n)
  for (step in 0:most) {
    raw <- exp(-distance[open, , drop = FALSE] * beta[open])
    sum <- rowSums(raw)
    entropy <- log(sum) + beta[open] * rowSums(distance[open, , drop = FALSE] * raw) / sum
    # All neighbours too far away for this beta.
    entropy[sum == 0] <- 0
    weights[open, ] <- raw / sum
    excess <- entropy - log(perplexity)
    going <- abs(excess) >= tolerance
    open <- open[going]
    if (length(open) == 0) {
      break
    }
    up <- excess[going] > 0
    now <- beta[open]
    low[open][up] <- now[up]
    high[open][!up] <- now[!up]
    beta[open] <- ifelse(
      up,
      ifelse(is.infinite(high[open]), now * 2, (now + high[open]) / 2),
      ifelse(is.infinite(low[open]), now / 2, (now + low[open]) / 2)
    )
  }
  weights
}

# LISI of the batches among the cells of one label, mean over the labels.
cell_type_lisi <- function(x, labels, batch) {
  per_label <- vapply(split(seq_along(labels), labels), function(cells) {
    here <- droplevels(batch[cells])
    if (nlevels(here) < 2 || length(cells) < fewest_of_label) {
      return(NA_real_)
    }
    neighbours <- nearest_cells(x[cells, , drop = FALSE], min(lisi_neighbours, length(cells)))
    scaled_lisi(neighbours, here)
  }, 0)
  mean_or_na(per_label)
}

kbet_acceptance <- function(x, labels, batch, alpha = 0.05) {
  per_label <- vapply(split(seq_along(labels), labels), function(cells) {
    here <- droplevels(batch[cells])
    n <- length(cells)
    if (nlevels(here) < 2 || n < fewest_of_label) {
      return(NA_real_)
    }
    k <- min(kbet_neighbours, n %/% 3)
    index <- nearest_cells(x[cells, , drop = FALSE], k)$index
    near <- matrix(as.integer(here)[index], n)
    expected <- tabulate(here) / n * k
    statistic <- 0
    for (b in seq_along(expected)) {
      statistic <- statistic + (rowSums(near == b) - expected[b])^2 / expected[b]
    }
    mean(stats::pchisq(statistic, nlevels(here) - 1, lower.tail = FALSE) >= alpha)
  }, 0)
  mean_or_na(per_label)
}

graph_connectivity <- function(index, labels) {
  n <- nrow(index)
  near <- as.vector(index[, seq_len(min(graph_neighbours, ncol(index)))])
  cell <- rep_len(seq_len(n), length(near))
  codes <- as.integer(labels)
  # Without the edges between labels no part has cells of two of them.
  same <- codes[cell] == codes[near]
  graph <- igraph::make_graph(rbind(cell[same], near[same]), n = n, directed = TRUE)
  part <- igraph::components(graph, mode = "strong")$membership
  largest <- tapply(part, labels, function(parts) max(table(parts)) / length(parts))
  mean(largest)
}

# The share of the total variance that lies between the batches. This is what the regression of all
# principal components on the batches, weighted by their variances, comes to.
batch_share <- function(x, batch) {
  x <- sweep(x, 2, colMeans(x))
  size <- tabulate(batch)
  sum((rowsum(x, as.integer(batch)) / size)^2 * size) / sum(x^2)
}

pcr_comparison <- function(before, after, batch) {
  share <- batch_share(before, batch)
  change <- (share - batch_share(after, batch)) / share
  if (is.finite(change)) max(0, change) else NA_real_
}
