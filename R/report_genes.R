# The genes of a report: pictures, and a table of all of them that the page searches and sorts.

genes_section <- function(of) {
  tags <- htmltools::tags
  score <- scScore(of$model)
  n_fits <- ncol(S4Vectors::metadata(score)$connections)
  list(
    tags$p(sprintf(paste(
      "The score of a gene is its number of connections after the training, scaled to 0 to 1. It",
      "is of %d fit%s%s."
    ), n_fits, if (n_fits == 1) "" else "s", if (n_fits == 1) {
      "; scScore() averages over 20, which tells genes apart better, and adds p-values"
    } else {
      ""
    })),
    tags$div(
      class = "row",
      figure(plotScScore(of$model), paste(
        "How many genes have which score. Informative genes are those to the right of the line; a",
        "tall bar at the far right means that more of them would like more connections."
      ), width = 6, height = 4),
      figure(plotGeneScores(of$model, genes = of$genes %||% best_genes(of$model, 5)), paste(
        "Score and mean count of each gene. Genes of high score are informative; that they have",
        "many counts does not make them so."
      ), width = 6, height = 4)
    ),
    gene_browser(score)
  )
}

# The table is drawn by report.js from the data in the page.
gene_browser <- function(score) {
  tags <- htmltools::tags
  table <- browsed_columns(score)
  list(
    tags$h3("All genes"),
    tags$div(
      class = "browser",
      tags$input(
        type = "search", id = "gene-search", placeholder = "Search genes, such as ^CD or MT-",
        `aria-label` = "Search genes"
      ),
      tags$span(id = "gene-count", role = "status")
    ),
    tags$div(class = "wide", tags$table(
      id = "gene-table", tags$thead(), tags$tbody()
    )),
    tags$button(id = "gene-more", type = "button", "Show more"),
    htmltools::HTML(paste0(
      "<script type=\"application/json\" id=\"gene-data\">", gene_json(table), "</script>"
    ))
  )
}

# Genes that were kept, the best first; columns without a value are left out.
browsed_columns <- function(score) {
  table <- cbind(gene = rownames(score), as.data.frame(score))
  columns <- c(
    "gene", "rank", "scscore", "n_connections", "explained", "signal", "mean", "detected",
    "agreement", "p.value", "FDR"
  )
  table <- table[!is.na(table$scscore), intersect(columns, names(table))]
  table <- table[order(table$rank), ]
  table[vapply(table, function(x) !all(is.na(x)), TRUE)]
}

# Of columns whose names say too little.
column_titles <- c(
  scscore = "scScore", n_connections = "connections", explained = "deviance explained",
  mean = "mean count", detected = "share of cells", p.value = "p-value"
)

# {"names": [...], "titles": [...], "columns": [[...], ...]}; NA is null.
gene_json <- function(table) {
  array <- function(values) paste0("[", paste(values, collapse = ","), "]")
  column <- function(values) {
    if (is.character(values)) {
      return(array(json_text(values)))
    }
    text <- if (is.integer(values)) sprintf("%d", values) else sprintf("%.4g", values)
    array(ifelse(is.finite(values), text, "null"))
  }
  titles <- names(table)
  short <- titles %in% names(column_titles)
  titles[short] <- column_titles[titles[short]]
  sprintf(
    "{\"names\":%s,\"titles\":%s,\"columns\":%s}",
    array(json_text(names(table))), array(json_text(titles)), array(vapply(table, column, ""))
  )
}

# Text between quotes; "<" too, which could end the script element that the text is in.
json_text <- function(text) {
  text <- gsub("\\", "\\\\", enc2utf8(text), fixed = TRUE)
  text <- gsub("\"", "\\\"", text, fixed = TRUE)
  text <- gsub("<", "\\u003c", text, fixed = TRUE)
  text <- gsub("[\001-\037]", " ", text)
  paste0("\"", text, "\"")
}
