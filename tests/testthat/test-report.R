skip_if_not_installed("ggplot2")
skip_if_not_installed("htmltools")
skip_if_not_installed("knitr")
skip_if_not_installed("uwot")

sim <- simulateCounts(
  n_cells = 120, n_genes = 300, n_types = 3, n_batches = 2, n_markers = 15, library_size = 300,
  seed = 7
)
rownames(sim$counts)[5] <- "a \"<b>\" \\gene</script>"

report_of <- function(..., env = parent.frame()) {
  file <- withr::local_tempfile(fileext = ".html", .local_envir = env)
  reportSCVAE(..., file = file, threads = 1, verbose = FALSE)
  file
}

model <- quick_fit(sim$counts, batch = sim$batch, seed = 1, max_epochs = 3)
state <- random_state()
whole <- report_of(
  model, sim$counts,
  labels = sim$cell_type, title = "R & <D>", env = testthat::teardown_env()
)

page_text <- function(file) paste(readLines(file, encoding = "UTF-8"), collapse = "\n")

# What stands between two texts. Regular expressions are slow on so long a text.
between <- function(text, start, end) {
  rest <- strsplit(text, start, fixed = TRUE)[[1]][2]
  strsplit(rest, end, fixed = TRUE)[[1]][1]
}

# The data of the table of genes.
genes_in <- function(text) {
  data <- between(text, "id=\"gene-data\">", "</script>")
  jsonlite::fromJSON(data, simplifyMatrix = FALSE)
}

test_that("numbers of genes keep all their digits, and genes may be named by numbers, or twice", {
  expect_match(gene_json(data.frame(rank = c(10001L, NA))), "[10001,null]", fixed = TRUE)
  of <- report_subject(
    list(model = model, x = sim$counts, own = FALSE), NULL, NULL, NULL, c(3, 4, 3),
    call = rlang::current_env()
  )
  expect_identical(of$genes, open_model(model)$gene_names[3:4])
})

test_that("a report holds all its parts and fetches nothing", {
  skip_if_not_installed("jsonlite")
  expect_identical(random_state(), state)
  text <- page_text(whole)
  for (part in c("data", "training", "embedding", "genes", "batches", "settings", "session")) {
    expect_match(text, sprintf("<section id=\"%s\"", part), fixed = TRUE)
  }
  expect_match(text, "<h1>R &amp; &lt;D&gt;</h1>", fixed = TRUE)
  pictures <- gregexpr("<img src=\"data:image/png;base64,", text, fixed = TRUE)[[1]]
  expect_gte(length(pictures), 9)
  # Nothing but the page itself is named as a source.
  sources <- regmatches(text, gregexpr("(src|href)=\"[^\"]{0,20}", text, perl = TRUE))[[1]]
  expect_true(all(grepl("=\"(data:|#)", sources)))
  expect_false(grepl("@import|url\\(", text, perl = TRUE))
  table <- genes_in(text)
  score <- scScore(model)
  kept <- score[!is.na(score$scscore), ]
  expect_setequal(table$columns[[1]], rownames(kept))
  expect_identical(table$columns[[1]][1], rownames(kept)[kept$rank == 1])
  column <- table$columns[[match("scscore", table$names)]]
  expect_equal(column, kept[table$columns[[1]], "scscore"], tolerance = 1e-3)
  expect_match(text, ">ilisi<", fixed = TRUE)
})

test_that("parts that cannot be are left out, and it is said", {
  model <- quick_fit(sim$counts, seed = 1)
  text <- page_text(report_of(model))
  expect_match(text, "The model has no batches", fixed = TRUE)
  expect_match(text, "No scores of the embedding", fixed = TRUE)
  saved <- withr::local_tempfile(fileext = ".scvae")
  saveSCVAE(model, saved)
  loaded <- loadSCVAE(saved)
  expect_error(report_of(loaded), "embedding", class = "scvae_error_model")
  text <- page_text(report_of(loaded, sim$counts, labels = sim$cell_type))
  expect_match(text, "nmi_leiden", fixed = TRUE)
})

test_that("packages that are not there leave gaps that the report tells of", {
  replace_in_package("has_package", function(package) FALSE)
  text <- page_text(report_of(model, sim$counts, labels = sim$cell_type))
  expect_match(text, "package uwot is not installed", fixed = TRUE)
  expect_match(text, "not installed are igraph, RANN, uwot", fixed = TRUE)
  expect_match(text, "id=\"gene-data\"", fixed = TRUE)
})

test_that("what does not fit is refused before anything is computed", {
  replace_in_package("report_cells", function(...) stop("work was done"))
  refused <- function(class, ..., file = tempfile(fileext = ".html")) {
    expect_error(
      reportSCVAE(model, sim$counts, ..., file = file, verbose = FALSE),
      class = paste0("scvae_error_", class)
    )
    file
  }
  refused("argument", labels = sim$cell_type[-1])
  refused("argument", labels = "cell_type")
  refused("argument", batch = sim$batch[-1])
  refused("argument", to = "batch9")
  refused("argument", genes = "nobody")
  refused("argument", genes = 0)
  refused("argument", transposd = TRUE)
  refused("argument", overwrite = NA)
  refused("argument", max_cells = 0)
  refused("file", file = tempfile(fileext = ".txt"))
  refused("file", file = file.path(tempfile(), "report.html"))
  there <- withr::local_tempfile(fileext = ".html")
  writeLines("old", there)
  refused("file", file = there)
  expect_identical(readLines(there), "old")
  expect_error(
    reportSCVAE(model, sim$counts, file = there, overwrite = TRUE, verbose = FALSE), "work was done"
  )
  expect_identical(readLines(there), "old")
  expect_identical(list.files(dirname(there), basename(there), all.files = TRUE), basename(there))
})

test_that("a Seurat or SingleCellExperiment object with a model is reported on", {
  skip_if_not_installed("SingleCellExperiment")
  sce <- SingleCellExperiment::SingleCellExperiment(
    list(umi = sim$counts),
    colData = S4Vectors::DataFrame(type = sim$cell_type, donor = sim$batch)
  )
  sce <- runSCVAE(
    sce,
    assay.type = "umi", batch = "donor", min_genes = 20, n_hidden = 16, n_latent = 4,
    max_epochs = 2, seed = 1, verbose = FALSE
  )
  replace_in_package("report_cells", function(...) NULL)
  replace_in_package("report_part", function(...) NULL)
  seen <- NULL
  replace_in_package("report_page", function(title, of, ...) {
    seen <<- of
    ""
  })
  report_of(sce[, 120:1], labels = "type")
  expect_identical(as.character(seen$labels), as.character(rev(sim$cell_type)))
  expect_identical(as.character(seen$batch), as.character(rev(sim$batch)))
  expect_identical(rownames(seen$embedding), rev(colnames(sim$counts)))
  expect_identical(seen$counts$cell_names, rev(colnames(sim$counts)))
})

# The page in a browser. `script` runs in it when the page is there, and what it returns is found
# again in the page.
chromium <- function() {
  found <- Sys.which(c("chromium", "chromium-browser", "google-chrome"))
  unname(found[nzchar(found)][1])
}

in_browser <- function(file, script) {
  changed <- withr::local_tempfile(fileext = ".html")
  text <- sub("</body>", paste0(
    "<script>window.addEventListener('load', function () {",
    "document.body.setAttribute('data-found', JSON.stringify((function () {", script, "})()));",
    "});</script></body>"
  ), page_text(file), fixed = TRUE)
  writeLines(text, changed, useBytes = TRUE)
  profile <- withr::local_tempdir()
  log <- withr::local_tempfile()
  arguments <- c(
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    paste0("--user-data-dir=", profile), "--enable-logging=stderr", "--v=0",
    "--virtual-time-budget=5000", "--dump-dom", paste0("file://", normalizePath(changed))
  )
  page <- suppressWarnings(system2(
    chromium(), arguments,
    stdout = TRUE, stderr = log, timeout = 120
  ))
  page <- paste(page, collapse = "\n")
  found <- between(page, "data-found=\"", "\"")
  for (escaped in list(c("&quot;", "\""), c("&lt;", "<"), c("&gt;", ">"), c("&amp;", "&"))) {
    found <- gsub(escaped[1], escaped[2], found, fixed = TRUE)
  }
  list(
    found = jsonlite::fromJSON(found),
    console = grep("CONSOLE", readLines(log, warn = FALSE), value = TRUE)
  )
}

test_that("a browser shows all pictures and a table that can be searched and sorted", {
  skip_if(is.na(chromium()), "no Chromium")
  skip_if_not_installed("jsonlite")
  shown <- in_browser(whole, "
    var all = function (what) { return Array.from(document.querySelectorAll(what)); };
    var genes = function () {
      return all('#gene-table tbody tr').map(function (row) { return row.cells[0].textContent; });
    };
    var search = function (text) {
      var input = document.getElementById('gene-search');
      input.value = text;
      input.dispatchEvent(new Event('input'));
      return genes();
    };
    var out = {
      pictures: all('figure img').map(function (img) { return img.naturalWidth; }),
      first: genes(),
      exact: search('^gene007$'),
      broken: search('gene0(')
    };
    search('');
    document.getElementById('gene-more').click();
    out.more = genes().length;
    all('#gene-table th button')[0].click();
    out.sorted = genes();
    all('#gene-table th button')[0].click();
    out.reversed = genes()[0];
    out.wide = document.documentElement.scrollWidth <= window.innerWidth;
    out.fetched = performance.getEntriesByType('resource').filter(function (entry) {
      return !entry.name.startsWith('data:');
    }).map(function (entry) { return entry.name; });
    return out;
  ")
  expect_identical(shown$console, character())
  found <- shown$found
  expect_gte(length(found$pictures), 9)
  expect_true(all(found$pictures > 500))
  score <- scScore(model)
  kept <- rownames(score)[!is.na(score$scscore)]
  best <- rownames(score)[order(score$rank)]
  expect_identical(found$first, best[1:25])
  expect_identical(unlist(found$exact), "gene007")
  expect_length(found$broken, 0)
  expect_identical(found$more, 125L)
  expect_identical(found$sorted[1:5], sort(kept, method = "radix")[1:5])
  expect_identical(found$reversed, sort(kept, method = "radix")[length(kept)])
  expect_true(found$wide)
  expect_length(found$fetched, 0)
})

test_that("a browser's errors would be seen", {
  skip_if(is.na(chromium()), "no Chromium")
  skip_if_not_installed("jsonlite")
  file <- withr::local_tempfile(fileext = ".html")
  writeLines("<html><body><script>console.error('seen')</script></body></html>", file)
  expect_match(in_browser(file, "return 1;")$console, "seen", all = FALSE)
})
