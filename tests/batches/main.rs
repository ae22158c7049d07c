//! Several batches: what sets them apart, covariates, and batches that come later.

mod differences;
mod mapping;
mod simulated;
