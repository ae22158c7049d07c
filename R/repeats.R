# Fits of the same cells from different starts, in this process or in others.
#
# What they give is a list with `genes`, the places of the genes that the filter kept; `sources`,
# for each null copy the gene among these that it was made of; `numbers`, which fits these are;
# `values`, matrices of genes (and copies after them) x fits; and `interrupted`.

settings_for_repeats <- function(args, BPPARAM, call) { # nolint: object_name_linter.
  if (!is.null(BPPARAM)) {
    check_bpparam(BPPARAM, call)
    args$threads <- args$threads %||% threads_of_worker(BPPARAM)
  }
  settings_from(args, call)
}

# Cluster jobs, and workers that are named by their hosts.
on_other_machines <- function(BPPARAM) { # nolint: object_name_linter.
  is(BPPARAM, "BatchtoolsParam") || is.character(BiocParallel::bpworkers(BPPARAM))
}

check_bpparam <- function(BPPARAM, call) { # nolint: object_name_linter.
  need_package("BiocParallel", "for {.arg BPPARAM}", call)
  if (!is(BPPARAM, "BiocParallelParam")) {
    value <- describe(BPPARAM)
    abort_scvae(
      c(
        "{.arg BPPARAM} must be a {.cls BiocParallelParam}, not {value}.",
        i = "For example {.code BiocParallel::MulticoreParam(2)}."
      ),
      "argument",
      call
    )
  }
}

# Another machine finds out itself what cores there are, or were given to the job.
threads_of_worker <- function(BPPARAM) { # nolint: object_name_linter.
  if (on_other_machines(BPPARAM)) {
    return(NULL)
  }
  n_workers <- as.integer(BiocParallel::bpnworkers(BPPARAM))
  max(1L, available_threads() %/% max(1L, n_workers))
}

# The fits of a plan: `settings`, `numbers`, `null`, `checkpoint`, `BPPARAM`, and, for counts in a
# file, the arguments of as_counts() that read it.
repeated_fits <- function(counts, batch, plan, verbose, call) {
  batch <- rust_batch(batch)
  settings <- without_interrupt(plan$settings)
  if (!is.null(plan$BPPARAM)) {
    if (is.null(plan$checkpoint)) {
      plan$checkpoint <- passing_folder(plan$BPPARAM)
      on.exit(unlink(plan$checkpoint, recursive = TRUE))
    }
    task <- list(
      counts = if (is.null(plan$file)) counts[c("data", "gene_names")],
      file = plan$file,
      batch = batch,
      settings = settings,
      null = plan$null,
      checkpoint = normalizePath(plan$checkpoint)
    )
    if (on_other_machines(plan$BPPARAM)) {
      task$settings$threads <- NULL
    }
    fit_in_workers(plan$numbers, task, plan$BPPARAM, call)
  }
  progress <- new_progress(verbose, "Scoring ", score_progress)
  on.exit(progress$done(), add = TRUE)
  rust_call(
    rs_score(
      counts$data, counts$gene_names, batch, settings, plan$numbers, plan$null, plan$checkpoint,
      progress$update
    ),
    call
  )
}

# Where workers leave their fits. Jobs on other machines see the working directory, where
# batchtools has its registry, too; they do not see R's temporary files.
passing_folder <- function(BPPARAM) { # nolint: object_name_linter.
  place <- if (on_other_machines(BPPARAM)) getwd() else tempdir()
  folder <- tempfile("scscore-", tmpdir = place)
  dir.create(folder)
  folder
}

# One fit, in a worker, which leaves it in the folder.
fit_task <- function(number, task) {
  counts <- task$counts %||% do.call(as_counts, task$file, quote = TRUE)
  task$settings$threads <- task$settings$threads %||% check_threads(NULL, NULL)
  rs_score(
    counts$data, counts$gene_names, task$batch, task$settings, number, task$null,
    task$checkpoint, NULL
  )
  NULL
}

# How often fits are made whose workers die.
most_tries <- 3

# A worker that dies takes with it what the others return, but not what they left in the folder.
fit_in_workers <- function(numbers, task, BPPARAM, call) { # nolint: object_name_linter.
  missing <- function() numbers[!rs_scored(task$checkpoint, numbers)]
  for (try in seq_len(most_tries)) {
    lost <- missing()
    if (length(lost) == 0) {
      return(invisible())
    }
    reason <- tryCatch(
      {
        BiocParallel::bplapply(lost, fit_task, task = task, BPPARAM = BPPARAM)
        "It left nothing."
      },
      error = conditionMessage
    )
    if (grepl("scvae_error_", reason, fixed = TRUE)) {
      # A fit that fails for a reason of its own would fail again.
      rust_error(sub("^.*(scvae_error_)", "\\1", reason), call)
    }
    lost <- missing()
    if (length(lost) > 0 && try < most_tries) {
      forget_workers(BPPARAM)
      warn_scvae(
        c("A worker died: {fits_text(lost)} made again.", i = "{reason}"),
        "worker"
      )
    }
  }
  if (length(lost) > 0) {
    abort_scvae(
      c(
        "Workers died {most_tries} times: {fits_text(lost)} missing.",
        i = "{reason}",
        i = "With {.arg checkpoint} the fits that are done are kept for the next call."
      ),
      "worker",
      call
    )
  }
}

fits_text <- function(numbers) {
  n <- length(numbers)
  cli::pluralize("fit{cli::qty(n)}{?s} {toString(numbers)} {cli::qty(n)}{?is/are}")
}

# After a death BiocParallel would take late results of workers that live on for those of the next
# call, or write to one that is gone.
forget_workers <- function(BPPARAM) { # nolint: object_name_linter.
  if (is(BPPARAM, "MulticoreParam")) {
    suppressWarnings(parallel::mccollect())
  }
  if (BiocParallel::bpisup(BPPARAM)) {
    try(BiocParallel::bpstop(BPPARAM), silent = TRUE)
  }
}

# Fits of the same genes, one after the other.
join_fits <- function(parts) {
  out <- parts[[1]]
  out$numbers <- unlist(lapply(parts, `[[`, "numbers"))
  out$values <- lapply(stats::setNames(nm = names(out$values)), function(name) {
    do.call(cbind, lapply(parts, function(part) part$values[[name]]))
  })
  out$interrupted <- any(vapply(parts, `[[`, logical(1), "interrupted"))
  out
}

# The one fit that a model was made by, in the same form. `evidence` is NULL in old files.
fits_of_model <- function(genes, connections, evidence) {
  list(
    genes = genes,
    sources = integer(),
    numbers = 1L,
    values = lapply(c(list(connections = rowMeans(connections)), evidence), matrix),
    interrupted = FALSE
  )
}
