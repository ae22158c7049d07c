# Writes NAMESPACE and man/ of the package in the folder named, without compiling anything.
folder <- commandArgs(trailingOnly = TRUE)
suppressMessages(roxygen2::roxygenise(folder, load_code = "source"))
