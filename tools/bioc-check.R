# BiocCheck of the sources in a folder, without what it looks up in the network.
# `make bioc-check` calls it. Usage: Rscript tools/bioc-check.R FOLDER; status 1 after an ERROR.
folder <- commandArgs(trailingOnly = TRUE)[1]
Sys.setenv(BIOCONDUCTOR_ONLINE_VERSION_DIAGNOSIS = "FALSE")
# The list of all packages would be fetched to judge `pkg:function` in code.
utils::assignInNamespace("available", function(...) character(), "BiocManager")
result <- BiocCheck::BiocCheck(
  folder,
  `no-check-dependencies` = TRUE, `no-check-deprecated` = TRUE, `no-check-CRAN` = TRUE,
  `no-check-bioc-help` = TRUE, `no-check-remotes` = TRUE, `no-check-version-num` = TRUE,
  `no-check-bioc-views` = TRUE, `no-check-pkg-size` = TRUE, `no-check-file-size` = TRUE
)
quit(status = as.integer(length(result$error) > 0))
