# Writes inst/AUTHORS: whose crates are compiled into the package. Usage, where Cargo.toml lies:
#   Rscript tools/crate-authors.R [FILE]
# All features and all systems are counted, so that it is the same wherever it is made.

arguments <- commandArgs(trailingOnly = TRUE)
file <- if (length(arguments) > 0) arguments[[1]] else "inst/AUTHORS"

metadata <- system2(
  "cargo", c("metadata", "--locked", "--all-features", "--format-version", "1"),
  stdout = TRUE
)
metadata <- jsonlite::fromJSON(paste(metadata, collapse = ""), simplifyDataFrame = FALSE)
by_id <- function(x) stats::setNames(x, vapply(x, function(one) one$id, ""))
packages <- by_id(metadata$packages)
nodes <- by_id(metadata$resolve$nodes)
root <- metadata$resolve$root

or <- function(x, default) if (is.null(x)) default else x
is_macro <- function(id) {
  any(vapply(packages[[id]]$targets, function(x) "proc-macro" %in% x$kind, NA))
}

# The crates reached from the package's own over dependencies of these kinds ("normal", "build").
reached <- function(kinds, macros) {
  seen <- root
  queue <- root
  while (length(queue) > 0) {
    wanted <- Filter(function(dependency) {
      kind <- vapply(dependency$dep_kinds, function(x) or(x$kind, "normal"), "")
      any(kind %in% kinds) && (macros || !is_macro(dependency$pkg))
    }, nodes[[queue[[1]]]]$deps)
    new <- setdiff(vapply(wanted, function(dependency) dependency$pkg, ""), seen)
    seen <- c(seen, new)
    queue <- c(queue[-1], new)
  }
  setdiff(seen, root)
}

# Names only: addresses are nobody's business here.
describe <- function(ids) {
  lines <- vapply(packages[ids], function(package) {
    authors <- trimws(sub("<[^>]*>", "", unlist(package$authors)))
    authors <- if (length(authors) > 0) toString(authors) else "not named in the crate"
    licence <- or(package$license, paste("file", package$license_file))
    sprintf(
      "%s %s\n  Licence: %s\n  Authors: %s", package$name, package$version, licence, authors
    )
  }, "")
  sort(unname(lines), method = "radix")
}

linked <- reached("normal", macros = FALSE)
built_with <- setdiff(reached(c("normal", "build"), macros = TRUE), linked)
writeLines(c(
  "The compiled library of scVAE contains code of the Rust crates below, each under its own",
  "licence. Some are used on one system or with one option only (CUDA, HDF5 compiled from source).",
  "Authors and licences are as the crates state them. The texts of the licences lie in the crates'",
  "folders in src/vendor.tar.xz, in source packages that have their crates with them.",
  "",
  describe(linked),
  "",
  "These are used while the package is compiled, and are no part of the library:",
  "",
  describe(built_with)
), file, useBytes = TRUE)
