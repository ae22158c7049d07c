# reportSCVAE(): what was done and what came out of it, on one page. Its sections are in
# report_sections.R, its table of genes in report_genes.R.

#' Write a report
#'
#' One page for a browser that holds everything: what the data were and what the filter left, how
#' the training went, the embedding and its scores, the genes' scores with a table of all genes that
#' can be searched and sorted, the batches before and after, settings and session. The pictures are
#' part of the page, and nothing is fetched when it is opened: it can be sent by mail.
#'
#' Parts that need what is not there (labels, batches, counts, packages) are left out; the page
#' says so. The page is written beside `file` and then renamed: a report that was there stays whole
#' until the new one is.
#'
#' @param model A model from [fitSCVAE()] or [loadSCVAE()], or a Seurat or SingleCellExperiment
#'   object with one.
#' @param x The counts that the model was fitted to, in any form that [fitSCVAE()] takes; NULL:
#'   those of the object that was given as `model`. Without counts the embedding is that in the
#'   model, and there is nothing on the data and on the batches before the correction.
#' @param labels The label of each cell of `x`: one value per cell, or the name of a column of the
#'   annotation; NULL: none.
#' @param file Where to write the page; its name ends in `.html`.
#' @param ... Arguments that say where the counts are in `x`, as in [fitSCVAE()].
#' @param batch The batch of each cell of `x`, as in [fitSCVAE()]; NULL: those the model was fitted
#'   with.
#' @param to The batch whose style all cells take in the picture of the transfer; NULL: the one with
#'   the most cells.
#' @param genes Genes to name in the pictures, such as known markers.
#' @param title The page's title.
#' @param overwrite Replace a file that is there.
#' @param max_cells With more cells than that pictures and scores of embeddings are of so many
#'   cells, drawn at random.
#' @param seed The seed of that, and of all UMAPs. R's random numbers are left untouched.
#' @param threads Number of threads, as in [fitSCVAE()].
#' @param verbose Say what is being done.
#' @return `file`, invisibly.
#' @section Errors:
#' Wrong arguments, labels and batches that do not fit the cells, a file that exists and a folder
#' that does not are refused before anything is computed.
#' @examplesIf all(vapply(c("ggplot2", "htmltools", "knitr", "uwot"), requireNamespace, TRUE))
#' sim <- simulateCounts(n_cells = 120, n_genes = 300, seed = 1)
#' model <- fitSCVAE(sim$counts,
#'   min_genes = 10, max_epochs = 2, n_hidden = 16, seed = 1, threads = 1, verbose = FALSE
#' )
#' file <- tempfile(fileext = ".html")
#' reportSCVAE(model, sim$counts, labels = sim$cell_type, file = file, threads = 1)
#' unlink(file)
#' @export
reportSCVAE <- function(model, x = NULL, labels = NULL, file = "report.html", ..., batch = NULL,
                        to = NULL, genes = NULL, title = "scVAE report", overwrite = FALSE,
                        max_cells = 5000, seed = 1, threads = NULL, verbose = TRUE) {
  call <- rlang::current_env()
  for (package in c("ggplot2", "htmltools", "knitr")) {
    need_package(package, "for the report", call)
  }
  check_string(title, "title", call = call)
  check_flag(overwrite, "overwrite", call)
  check_flag(verbose, "verbose", call)
  path <- check_page(file, overwrite, call)
  umap <- check_umap(30, 0.3, max_cells, seed, call)
  threads <- check_threads(threads, call)
  given <- if (is_object(model)) {
    model_and_cells(model, x, call)
  } else {
    list(model = scvaeModel(model), x = x, own = FALSE)
  }
  of <- report_subject(given, labels, batch, to, genes, ..., call = call)
  of <- c(of, list(umap = umap, threads = threads))
  of$cells <- report_cells(of, call)
  parts <- list(
    Data = data_section, Training = training_section, Embedding = embedding_section,
    Genes = genes_section, Batches = batches_section, Settings = settings_section,
    Session = session_section
  )
  sections <- lapply(names(parts), function(name) {
    if (verbose) {
      cli::cli_inform(c(">" = "{name}"))
    }
    report_part(name, parts[[name]](of))
  })
  page <- report_page(title, of, names(parts), sections)
  write_whole(charToRaw(enc2utf8(page)), path, file, call)
  if (verbose) {
    size <- format(structure(file.size(path), class = "object_size"), units = "auto")
    cli::cli_inform(c(v = "{.file {file}} ({size})"))
  }
  invisible(file)
}

check_page <- function(file, overwrite, call) {
  check_string(file, "file", call = call)
  if (!grepl("\\.html?$", file, ignore.case = TRUE)) {
    abort_scvae("{.arg file} must end in {.val .html}, not be {.file {file}}.", "file", call)
  }
  check_new_file(file, overwrite, call)
}

# What the report is about, checked: the model, the counts or NULL, and the cells with their
# embedding, labels and batches.
report_subject <- function(given, labels, batch, to, genes, ..., call) {
  model <- given$model
  counts <- if (!is.null(given$x)) counts_of_cells(given, ..., call = call)
  if (is.null(counts)) {
    check_named(dots_names(...), call)
    check_known_arguments(dots_names(...), "x", call)
    cells <- as_embedding(model, NULL, call)
  } else {
    cells <- counts
  }
  labels <- report_labels(labels, cells, call)
  open <- open_model(model, call)
  if (!is.null(genes)) {
    genes <- unique(open$gene_names[choose_index(genes, open$gene_names, "genes", call)])
  }
  batch <- report_batch(model, open, batch, cells, call)
  if (!is.null(batch)) {
    size <- table(batch)
    to <- to %||% default_style(open, names(size)[which.max(size)])
    check_one_style(open, to, call)
  }
  list(
    model = model, counts = counts, cell_names = cells$cell_names, labels = labels,
    batch = batch, to = to, genes = genes, embedding = report_embedding(model, counts, batch)
  )
}

report_labels <- function(labels, cells, call) {
  groups <- cell_groups(cells, labels, NULL, call)
  if (length(groups) > 0) groups[[1]]
}

# A factor, NULL if the model has no batches.
report_batch <- function(model, open, batch, cells, call) {
  if (is.null(open$batch_names)) {
    return(NULL)
  }
  rows <- match(cells$cell_names, model$cell_names)
  if (is.null(batch) && !is.null(model$batch) && !anyNA(rows)) {
    return(droplevels(model$batch[rows]))
  }
  codes <- model_batch_codes(open, batch, cells, call)
  droplevels(factor(open$batch_names[codes + 1], open$batch_names))
}

# As transferBatchStyle() wants it. With several covariates: the levels of the largest batch.
default_style <- function(open, batch) {
  if (length(open$covariates) < 2) {
    return(batch)
  }
  # Levels have no " / " in them where names would be unclear: fitSCVAE() refuses such.
  stats::setNames(strsplit(batch, " / ", fixed = TRUE)[[1]], names(open$covariates))
}

report_embedding <- function(model, counts, batch) {
  if (is.null(counts)) {
    return(model$embedding)
  }
  rows <- match(counts$cell_names, model$cell_names)
  if (!is.null(model$embedding) && !anyNA(rows)) {
    return(model$embedding[rows, , drop = FALSE])
  }
  function(threads) predict(model, counts, batch = batch, threads = threads)
}

# The cells that pictures and scores are of: those with coordinates, at most so many. Their places
# in the plane and their scores are computed once.
report_cells <- function(of, call) {
  values <- if (is.function(of$embedding)) of$embedding(of$threads) else of$embedding
  chosen <- sort(cells_to_show(which(rowSums(!is.finite(values)) == 0), of$umap))
  cells <- list(
    index = chosen, labels = of$labels[chosen],
    batch = if (!is.null(of$batch)) droplevels(of$batch[chosen])
  )
  c(cells, report_embedded(values[chosen, , drop = FALSE], cells, of, call))
}

# An embedding of these cells, its plane (NULL without uwot) and its scores.
report_embedded <- function(values, cells, of, call) {
  plane <- if (ncol(values) == 2 || has_package("uwot")) {
    plane_of(unname(values), of$umap, call)
  }
  list(n_dimensions = ncol(values), plane = plane, scores = embedding_scores(values, cells, of))
}

# Page -------------------------------------------------------------------------------------------

report_page <- function(title, of, names, sections) {
  tags <- htmltools::tags
  link <- function(name) tags$a(href = paste0("#", tolower(name)), name)
  body <- tags$body(
    tags$header(
      tags$h1(title),
      tags$p(class = "when", sprintf(
        "scVAE %s, %s", utils::packageVersion("scVAE"), format(Sys.time(), "%Y-%m-%d %H:%M")
      )),
      tags$nav(lapply(names, link))
    ),
    tags$main(key_numbers(of), sections),
    htmltools::HTML(paste0("<script>\n", report_file("report.js"), "</script>"))
  )
  paste0(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    # Else browsers ask for an icon.
    "<link rel=\"icon\" href=\"data:,\">\n",
    "<title>", htmltools::htmlEscape(title), "</title>\n",
    "<style>\n", report_file("report.css"), "</style>\n</head>\n",
    as.character(body), "\n</html>\n"
  )
}

report_file <- function(name) {
  lines <- readLines(system.file("report", name, package = "scVAE"), encoding = "UTF-8")
  paste0(paste(lines, collapse = "\n"), "\n")
}

report_part <- function(name, content) {
  tags <- htmltools::tags
  tags$section(id = tolower(name), tags$h2(name), content)
}

# The numbers that a reader looks for first.
key_numbers <- function(of) {
  tags <- htmltools::tags
  model <- of$model
  numbers <- list(
    cells = big_number(length(of$cell_names)),
    genes = big_number(sum(model$genes$kept)),
    batches = if (!is.null(of$batch)) nlevels(of$batch),
    labels = if (!is.null(of$labels)) nlevels(of$labels),
    epochs = model$epochs,
    "loss per cell" = format(final_elbo(model)$value, digits = 4),
    "genes of score >= 0.6" = big_number(sum(model$genes$scscore >= 0.6, na.rm = TRUE))
  )
  numbers <- numbers[!vapply(numbers, is.null, TRUE)]
  tags$div(class = "numbers", lapply(names(numbers), function(name) {
    tags$div(tags$b(numbers[[name]]), tags$span(name))
  }))
}

# A picture with a text that says what is to be seen.
figure <- function(plot, caption, width = 7, height = 4.5) {
  tags <- htmltools::tags
  file <- tempfile(fileext = ".png")
  on.exit(unlink(file))
  # ggplot2 and ggrepel draw random numbers for some layers.
  keep_random_state()
  suppressMessages(ggplot2::ggsave(
    file, plot,
    width = width, height = height, dpi = 150, bg = "white"
  ))
  tags$figure(
    style = sprintf("max-width: %dpx", round(110 * width)),
    tags$img(src = knitr::image_uri(file), alt = caption),
    tags$figcaption(caption)
  )
}

# A small table. The first column, and all text, to the left; numbers to the right.
html_table <- function(table, class = NULL) {
  tags <- htmltools::tags
  right <- vapply(table, is.numeric, TRUE)
  side <- function(column) if (right[column]) "right"
  show <- function(value) {
    if (is.numeric(value)) {
      if (is.na(value)) "" else if (value %% 1 == 0) big_number(value) else sprintf("%.3f", value)
    } else {
      as.character(value)
    }
  }
  row <- function(i) {
    tags$tr(lapply(seq_along(table), function(k) tags$td(class = side(k), show(table[[k]][i]))))
  }
  tags$table(
    class = class,
    tags$thead(tags$tr(lapply(seq_along(table), function(k) {
      tags$th(class = side(k), names(table)[k])
    }))),
    tags$tbody(lapply(seq_len(nrow(table)), row))
  )
}

# What is left out, and why.
left_out <- function(...) htmltools::tags$p(class = "left-out", paste0(...))
