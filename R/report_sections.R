# What the sections of a report hold: each function takes what the report is about and gives tags.

data_section <- function(of) {
  model <- of$model
  settings <- model$settings
  loaded <- is.null(model$latent)
  trained <- if (!loaded) trained_cells(model)
  filter <- data.frame(
    Filter = c("genes", "cells"),
    Rule = c(
      sprintf("found in at least %s cells", settings$min_cells),
      sprintf("at least %s genes found", settings$min_genes)
    ),
    # A model from a file knows neither the cells nor the genes that were dropped.
    given = if (loaded) c(NA, NA) else c(nrow(model$genes), length(trained)),
    kept = c(sum(model$genes$kept), if (loaded) NA else sum(trained))
  )
  list(
    htmltools::tags$p(
      "The model was trained on the counts that the filter kept. It embeds the other cells, too."
    ),
    html_table(filter),
    detected_figure(of),
    groups_table(of)
  )
}

detected_figure <- function(of) {
  if (!is(of$counts$data, "dgCMatrix")) {
    return(left_out("The counts are not in R's memory: no picture of them."))
  }
  detected <- diff(of$counts$data@p)
  total <- Matrix::colSums(of$counts$data)
  cells <- data.frame(detected, total)[detected > 0, ]
  least <- of$model$settings$min_genes
  plot <- ggplot2::ggplot(cells, ggplot2::aes(.data$total, .data$detected)) +
    ggplot2::geom_point(
      size = point_size(nrow(cells)), shape = 16, stroke = 0, alpha = 0.5,
      colour = group_colours[1]
    ) +
    ggplot2::geom_hline(yintercept = least, colour = highlight) +
    ggplot2::annotate(
      "text",
      x = min(cells$total), y = least, label = "least for the training", colour = highlight,
      hjust = 0, vjust = -0.5, size = 3.5
    ) +
    ggplot2::scale_x_log10() +
    ggplot2::scale_y_log10() +
    ggplot2::labs(
      title = "Genes found in each cell", x = "counts in the cell", y = "genes found"
    ) +
    theme_scvae()
  figure(plot, paste(
    "Each point is a cell. Cells under the line were not trained on. Cells far from the others,",
    "with many counts of few genes, are often damaged."
  ), width = 5.5, height = 4)
}

groups_table <- function(of) {
  tags <- htmltools::tags
  if (is.null(of$labels) && is.null(of$batch)) {
    return(NULL)
  }
  counted <- if (is.null(of$labels)) {
    data.frame(batch = levels(of$batch), cells = as.integer(table(of$batch)))
  } else if (is.null(of$batch)) {
    data.frame(label = levels(of$labels), cells = as.integer(table(of$labels)))
  } else {
    both <- table(of$labels, of$batch)
    data.frame(
      label = rownames(both), unclass(both), all = rowSums(both),
      check.names = FALSE, row.names = NULL
    )
  }
  list(tags$h3("Cells"), tags$div(class = "wide", html_table(counted)))
}

training_section <- function(of) {
  model <- of$model
  ended <- switch(model$stopped,
    early_stopping = sprintf(
      " It was stopped early, and the model is that of epoch %s.", model$best_epoch
    ),
    interrupted = " It was interrupted.",
    diverged = " It diverged, and the model is that of the epoch before: lower lr.",
    ""
  )
  time <- if (is.null(model$seconds)) "" else paste(" in", duration_text(model$seconds))
  connections <- tryCatch(
    figure(plotConnections(model, of$genes), paste(
      "Genes that the model has need of win connections to its hidden units, others lose theirs.",
      "Lines that are still steep at the end speak for more epochs."
    )),
    scvae_error_model = function(e) left_out("The model has no record of its connections.")
  )
  list(
    htmltools::tags$p(sprintf("%s epochs%s.%s", model$epochs, time, ended)),
    figure(plotHistory(model), paste(
      "The loss should fall and become level. Where the validation cells' rises again while the",
      "other falls on, the model learns single cells by heart: fewer epochs, or early stopping."
    ), width = 9, height = 3.6),
    connections
  )
}

embedding_section <- function(of) {
  cells <- of$cells
  both <- !is.null(cells$labels) && !is.null(cells$batch)
  list(
    htmltools::tags$p(sprintf(
      "%s dimensions; the picture is a UMAP of them. Distances within it are not to scale.",
      cells$n_dimensions
    )),
    embedding_figure(cells, of, paste0(
      "Cells of the same label should be together",
      if (both) ", and in each place all batches that have such cells" else "", "."
    )),
    scores_part(cells$scores)
  )
}

embedding_figure <- function(cells, of, caption, when = "") {
  if (is.null(cells$plane)) {
    return(left_out("No picture of the embedding: the package uwot is not installed."))
  }
  plot <- plotEmbedding(
    cells$plane, cells$labels, cells$batch,
    max_cells = of$umap$max_cells, seed = of$umap$seed
  )
  plot <- plot + ggplot2::labs(title = paste0(when, plot$labels$title))
  both <- !is.null(cells$labels) && !is.null(cells$batch)
  figure(plot, caption, width = if (both) 10 else 6.5, height = 5)
}

scores_part <- function(scores) {
  if (is.character(scores)) {
    return(left_out(scores))
  }
  scores$meaning <- score_meanings[scores$score]
  list(
    htmltools::tags$h3("Scores of the embedding"),
    htmltools::tags$p(
      "From 0 to 1, higher is better, also for the scores of batches. They compare embeddings of",
      "these cells with each other, not with those of other data. See ?evaluateEmbedding."
    ),
    html_table(as.data.frame(scores)[c("score", "value", "kind", "meaning")])
  )
}

score_meanings <- c(
  asw = "labels are apart: silhouettes",
  isolated_labels = "the same, for labels of the fewest batches",
  isolated_f1 = "clusters find the labels of the fewest batches",
  nmi_leiden = "clusters and labels say the same",
  ari_leiden = "the same, by pairs of cells", nmi_kmeans = "the same as nmi_leiden, by k-means",
  ari_kmeans = "the same as ari_leiden, by k-means", clisi = "neighbours have the same label",
  batch_asw = "batches are not apart within a label: silhouettes",
  bras = "the same, against all other batches", ilisi = "neighbours are of all batches",
  cilisi = "the same, within a label", kbet = "batches have the same shares everywhere",
  graph_connectivity = "cells of a label hang together",
  pcr_comparison = "batches explain less of the variance than before",
  nmi_batch = "clusters say nothing of batches", ari_batch = "the same, by pairs of cells",
  bio = "mean over the labels' scores", batch = "mean over the batches' scores",
  total = "0.6 bio + 0.4 batch"
)

# A table, or why there is none.
embedding_scores <- function(values, cells, of) {
  if (is.null(cells$labels) && is.null(cells$batch)) {
    return("No scores of the embedding: there are neither labels nor batches to compare it with.")
  }
  needed <- c("igraph", "RANN", "uwot")
  absent <- needed[!vapply(needed, has_package, TRUE)]
  if (length(absent) > 0) {
    return(paste("No scores of the embedding: not installed are", paste(absent, collapse = ", ")))
  }
  tryCatch(
    evaluateEmbedding(
      unname(values), cells$labels, cells$batch,
      seed = of$umap$seed, verbose = FALSE
    ),
    scvae_error_argument = function(e) {
      paste("No scores of the embedding:", cli::ansi_strip(conditionMessage(e)))
    }
  )
}

batches_section <- function(of) {
  if (is.null(of$batch)) {
    return(left_out("The model has no batches."))
  }
  style <- paste(of$to, collapse = ", ")
  list(
    before_and_after(of),
    if (is.null(of$counts) || !has_package("uwot")) {
      left_out("The transfer of style needs the counts and the package uwot.")
    } else {
      figure(report_transfer(of), sprintf(paste(
        "Left, the counts without noise of each cell in its own batch's style; right, all cells",
        "as if they came from %s. Cells of a type should come together on the right."
      ), style), width = 9.5, height = if (is.null(of$labels)) 5.2 else 9.2)
    },
    agreement_figure(of)
  )
}

before_and_after <- function(of) {
  values <- uncorrected(of)
  if (is.null(values)) {
    return(left_out("Cells before the correction can be shown of counts in R's memory only."))
  }
  after <- of$cells
  before <- utils::modifyList(after, report_embedded(values, after, of, rlang::caller_env()))
  list(
    embedding_figure(before, of, paste(
      "Principal components of the counts, in log1p(counts per 10,000), of the 1,000 genes",
      "with the best scores. Nothing is done about batches."
    ), when = "Before: "),
    embedding_figure(after, of, paste(
      "The same cells in the model's embedding. The batches should be mixed wherever they have",
      "the same cells, and the labels no less apart than before."
    ), when = "After: "),
    if (is.data.frame(before$scores) && is.data.frame(after$scores)) {
      html_table(data.frame(
        score = after$scores$score, before = before$scores$value, after = after$scores$value,
        kind = after$scores$kind
      ))
    }
  )
}

report_transfer <- function(of) {
  plotTransfer(of$model, of$counts, of$to,
    batch = as.character(of$batch), labels = of$labels, max_cells = min(2000, of$umap$max_cells),
    seed = of$umap$seed, threads = of$threads
  )
}

agreement_figure <- function(of) {
  if (all(is.na(scScore(of$model)$agreement))) {
    return(NULL)
  }
  figure(plotBatchAgreement(of$model), paste(
    "Each point is a gene. Most genes of high signal should be at the top. Those in the lower",
    "right vary in some batches only: a cell type that others lack, or something done to a batch."
  ))
}

# Principal components of the counts, of the genes with the best scores.
uncorrected <- function(of) {
  counts <- of$counts
  if (!is(counts$data, "dgCMatrix")) {
    return(NULL)
  }
  cells <- of$cells$index
  library <- Matrix::colSums(counts$data)[cells]
  genes <- match(best_genes(of$model, 1000), counts$gene_names)
  x <- counts$data[genes[!is.na(genes)], cells, drop = FALSE]
  principal_components(log1p(as.matrix(Matrix::t(x)) / pmax(library, 1) * 1e4), 20)
}

settings_section <- function(of) {
  tags <- htmltools::tags
  settings <- of$model$settings
  text <- vapply(settings, function(x) paste(format(x, digits = 6), collapse = ", "), "")
  list(
    if (!is.null(of$model$call)) tags$pre(paste(deparse(of$model$call), collapse = "\n")),
    html_table(data.frame(setting = names(settings), value = unname(text)))
  )
}

session_section <- function(of) {
  tags <- htmltools::tags
  info <- scvaeInfo()
  devices <- paste0(names(info$devices), ": ", info$devices, collapse = "; ")
  session <- paste(utils::capture.output(print(utils::sessionInfo())), collapse = "\n")
  list(
    html_table(data.frame(
      what = c("scVAE", "devices", "R"),
      value = c(info$version, devices, R.version.string)
    )),
    tags$details(tags$summary("All packages"), tags$pre(session))
  )
}
