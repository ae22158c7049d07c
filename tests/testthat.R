library(testthat)
library(scVAE)

test_check("scVAE")
