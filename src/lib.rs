//! scVAE: a sparsely connected variational autoencoder for single-cell RNA-seq counts.

pub mod counts;
mod error;
pub mod kernels;
pub mod likelihood;

pub use error::{Error, Result};
