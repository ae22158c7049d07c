# What the p-values of scScore() are worth: genes without structure that are called, and weak markers
# that are found.
#
#     Rscript bench/null.R DATA_DIR OUT_DIR [part ...]
#
# Writes a table per part to OUT_DIR, row by row, and goes on where it was interrupted; then
# results/null.md from all of them. Parts: "shuffled", "replaced", "power". Needs Debian's
# r-bioc-rhdf5 and r-bioc-scran.

suppressPackageStartupMessages({
  library(scVAE)
  library(Matrix)
})

arguments <- commandArgs(TRUE)
data_dir <- arguments[1]
out_dir <- arguments[2]
every <- c("shuffled", "replaced", "power")
parts <- if (length(arguments) > 2) arguments[-(1:2)] else every
dir.create(out_dir, showWarnings = FALSE, recursive = TRUE)

# Rows that are in the file already are not made again.
append_row <- function(part, key, make) {
  file <- file.path(out_dir, paste0(part, ".tsv"))
  known <- if (file.exists(file)) utils::read.delim(file, colClasses = "character")
  key <- lapply(key, as.character)
  same <- if (!is.null(known)) Reduce(`&`, Map(function(n, v) known[[n]] == v, names(key), key))
  if (any(same)) {
    return(invisible())
  }
  row <- cbind(as.data.frame(key), make())
  utils::write.table(
    row, file,
    append = !is.null(known), col.names = is.null(known), row.names = FALSE, sep = "\t",
    quote = FALSE
  )
  print(row)
}

score <- function(counts, seed, n_repeats = 3, ...) {
  scScore(counts, seed = seed, n_repeats = n_repeats, threads = 1, verbose = FALSE, ...)
}

# X of the files is a CSR matrix, cells x genes: a dgCMatrix, genes x cells.
read_counts <- function(set) {
  file <- file.path(data_dir, paste0(set, ".h5ad"))
  x <- rhdf5::h5read(file, "X", bit64conversion = "double")
  n_genes <- length(rhdf5::h5read(file, "var/_index"))
  counts <- sparseMatrix(
    i = as.integer(x$indices) + 1L, p = as.integer(x$indptr), x = as.numeric(x$data),
    dims = c(n_genes, length(x$indptr) - 1)
  )
  dimnames(counts) <- list(
    sprintf("gene%d", seq_len(n_genes)), sprintf("cell%d", seq_len(ncol(counts)))
  )
  counts[rowSums(counts > 0) >= 3, ]
}

labels_of <- function(set) {
  scVAE:::rs_read_obs(file.path(data_dir, paste0(set, ".h5ad")), "cell_type")
}

# Each gene's counts over the cells in another order.
shuffle_genes <- function(counts, genes = seq_len(nrow(counts))) {
  by_gene <- t(counts)
  for (gene in genes) {
    entries <- seq_len(by_gene@p[gene + 1] - by_gene@p[gene]) + by_gene@p[gene]
    # A dgCMatrix has its rows in increasing order; the counts are dealt out anew to them.
    by_gene@i[entries] <- sort(sample.int(nrow(by_gene), length(entries))) - 1L
    by_gene@x[entries] <- by_gene@x[entries][sample.int(length(entries))]
  }
  as(t(by_gene), "CsparseMatrix")
}

mean_below <- function(x, level) mean(x$p.value <= level, na.rm = TRUE)

called <- function(x) x$FDR <= 0.05 & !is.na(x$FDR)

# The share of p-values of at most 0.05 among genes with few and with many counts: that of all may be
# right where neither is.
by_counts <- function(x, n_cells) {
  n <- round(x$mean * n_cells)
  data.frame(
    few_05 = mean_below(x[which(n <= 5), ], 0.05), many_05 = mean_below(x[which(n > 100), ], 0.05)
  )
}

# (a) One homogeneous population, all of its genes shuffled: nothing is to be found.
if ("shuffled" %in% parts) {
  for (seed in 1:10) {
    append_row("shuffled", list(cells = "simulated, 600", seed = seed), function() {
      sim <- simulateCounts(
        n_cells = 600, n_genes = 2000, n_types = 1, n_batches = 1, seed = seed
      )
      set.seed(seed)
      x <- score(shuffle_genes(sim$counts), seed, min_genes = 10)
      data.frame(
        genes = sum(!is.na(x$FDR)), called = sum(called(x)), p_05 = mean_below(x, 0.05),
        by_counts(x, ncol(sim$counts))
      )
    })
  }
  sorted <- read_counts("pbmc_facs_zheng")
  sorted <- sorted[, labels_of("pbmc_facs_zheng") == "CD19+ B"]
  sorted <- sorted[rowSums(sorted > 0) >= 3, ]
  for (seed in 1:4) {
    append_row("shuffled", list(cells = paste0("B cells, ", ncol(sorted)), seed = seed), function() {
      set.seed(seed)
      x <- score(shuffle_genes(sorted), seed, n_repeats = 1)
      data.frame(
        genes = sum(!is.na(x$FDR)), called = sum(called(x)), p_05 = mean_below(x, 0.05),
        by_counts(x, ncol(sorted))
      )
    })
  }
}

# (b) Real cells, a tenth of whose genes are shuffled, over all cells, not within a depth.
if ("replaced" %in% parts) {
  for (set in c("pbmc_kang_ctrl", "mouse_bladder_han", "pbmc_facs_zheng")) {
    counts <- read_counts(set)
    for (seed in 1:3) {
      append_row("replaced", list(set = set, seed = seed), function() {
        set.seed(seed)
        without <- sample(nrow(counts), nrow(counts) %/% 10)
        x <- score(shuffle_genes(counts, without), seed, n_repeats = 2)
        null <- seq_len(nrow(x)) %in% without
        data.frame(
          genes = sum(!is.na(x$FDR)), called = sum(called(x)), false = sum(called(x) & null),
          fdr = sum(called(x) & null) / max(1, sum(called(x))),
          null_p_05 = mean_below(x[null, ], 0.05), null_p_01 = mean_below(x[null, ], 0.01),
          by_counts(x[null, ], ncol(counts))
        )
      })
    }
  }
}

# (c) Weak markers, beside the tests of others.

# scran's modelGeneVar(): more variance of the log-counts than genes of the same mean have.
scran_fdr <- function(counts) {
  x <- SingleCellExperiment::SingleCellExperiment(list(counts = counts))
  scran::modelGeneVar(scuttle::logNormCounts(x))$FDR
}

# More cells without a count than a negative binomial of the gene's mean and the mean-dispersion trend
# has (Andrews & Hemberg 2019, Bioinformatics 35:2865): the test of M3Drop's NBumi, without its package.
dropout_fdr <- function(counts) {
  total <- colSums(counts)
  n_cells <- ncol(counts)
  gene_total <- rowSums(counts)
  mu <- function(gene) gene_total[gene] * total / sum(total)
  variance <- vapply(seq_len(nrow(counts)), function(gene) {
    sum((counts[gene, ] - mu(gene))^2) / (n_cells - 1)
  }, numeric(1))
  squares <- gene_total^2 * sum(total^2) / sum(total)^2 / n_cells
  size <- squares / pmax(variance - gene_total / n_cells, 1e-10)
  fitted <- is.finite(size) & size < 1e4 & gene_total > 0
  trend <- stats::lm(log(size[fitted]) ~ log(gene_total[fitted] / n_cells))
  size <- exp(stats::coef(trend)[1] + stats::coef(trend)[2] * log(gene_total / n_cells))
  p <- vapply(seq_len(nrow(counts)), function(gene) {
    expected <- (1 + mu(gene) / size[gene])^-size[gene]
    sd <- sqrt(sum(expected * (1 - expected)))
    stats::pnorm(sum(counts[gene, ] == 0), sum(expected), sd, lower.tail = FALSE)
  }, numeric(1))
  stats::p.adjust(p, "BH")
}

if ("power" %in% parts) {
  for (fold in c(1.5, 2, 3)) {
    for (seed in 1:3) {
      sim <- simulateCounts(
        n_cells = 500, n_genes = 2000, n_batches = 1, n_markers = 50, marker_fold = fold,
        library_size = 1000, seed = seed
      )
      counts <- sim$counts[rowSums(sim$counts > 0) >= 3, ]
      marker <- rownames(counts) %in% sim$markers$gene
      fdr <- list(
        scScore = function() score(counts, seed, min_genes = 10)$FDR,
        modelGeneVar = function() scran_fdr(counts),
        `NB dropouts` = function() dropout_fdr(counts)
      )
      for (test in names(fdr)) {
        append_row("power", list(fold = fold, seed = seed, test = test), function() {
          found <- fdr[[test]]() <= 0.05
          found[is.na(found)] <- FALSE
          data.frame(
            markers = sum(marker), found = sum(found & marker), others = sum(found & !marker)
          )
        })
      }
    }
  }
}

# The page.

read_part <- function(part) {
  file <- file.path(out_dir, paste0(part, ".tsv"))
  if (file.exists(file)) utils::read.delim(file, check.names = FALSE)
}

table_of <- function(x) {
  number <- function(v) if (is.numeric(v)) format(v, digits = 2, trim = TRUE) else v
  x <- as.data.frame(lapply(x, number), check.names = FALSE)
  row <- function(values) paste("|", paste(values, collapse = " | "), "|")
  c(row(names(x)), paste0("|", strrep("---|", ncol(x))), apply(x, 1, row), "")
}

mean_by <- function(x, by, columns) {
  groups <- split(x, lapply(by, function(b) factor(x[[b]], unique(x[[b]]))), drop = TRUE)
  rows <- lapply(groups, function(g) {
    cbind(g[1, by, drop = FALSE], runs = nrow(g), as.data.frame(lapply(g[columns], mean)))
  })
  do.call(rbind, rows)
}

shuffled <- read_part("shuffled")
replaced <- read_part("replaced")
power <- read_part("power")
lines <- c(
  "# What the p-values of scScore() are worth",
  "",
  "Written by `Rscript bench/null.R DATA_DIR OUT_DIR`; do not edit by hand. Genes are called at an FDR",
  "of 0.05; entries are means over the runs (seeds).",
  "",
  "`few_05`, `many_05`: the share of p-values of at most 0.05 among genes with at most 5 and with more",
  "than 100 counts.",
  ""
)
if (!is.null(shuffled)) {
  shuffled$any_called <- shuffled$called > 0
  lines <- c(
    lines, "## (a) Nothing to be found", "",
    "One homogeneous population, all of its genes shuffled over the cells. `called` of `genes`, the",
    "share of the runs in which any was, and the share of p-values of at most 0.05, which should be",
    "0.05.", "",
    table_of(mean_by(shuffled, "cells", c("genes", "called", "any_called", "p_05", "few_05", "many_05")))
  )
}
if (!is.null(replaced)) {
  lines <- c(
    lines, "## (b) A tenth of the genes without structure", "",
    "Real cells, a tenth of whose genes are shuffled over all cells; 2 fits. `fdr`: the share of",
    "shuffled genes among the called ones. `null_p_05`, `null_p_01`: the share of the shuffled genes'",
    "p-values of at most 0.05 and 0.01. Shuffled over cells of all depths they have lost what copies",
    "keep, that counts go with depth: where their p-values are too small, that is a likely reason.", "",
    table_of(mean_by(
      replaced, "set",
      c("genes", "called", "false", "fdr", "null_p_05", "null_p_01", "few_05", "many_05")
    ))
  )
}
if (!is.null(power)) {
  lines <- c(
    lines, "## (c) Weak markers", "",
    "500 simulated cells of 4 types with 50 markers each, whose means are `fold` times as high in",
    "their type; 3 fits. `found` of the `markers`, and `others` of about 1,600 other genes: these are",
    "not all without structure, as the markers of a type take their counts from its other genes, which",
    "shows in the most expressed ones. modelGeneVar() tests another hypothesis (more variance than genes",
    "of the same mean have); the test of dropouts is that of M3Drop's NBumi, written from its",
    "publication.", "",
    table_of(mean_by(power, c("fold", "test"), c("markers", "found", "others")))
  )
}
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
writeLines(utils::head(lines, -1), file.path(here, "results", "null.md"))
