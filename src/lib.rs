//! scVAE: a sparsely connected variational autoencoder for single-cell RNA-seq counts.
//!
//! The house, in the order in which counts pass through it; each module uses only those above it:
//!
//! | module | holds |
//! |---|---|
//! | [`counts`] | the count matrix, its checks and filter, the file readers |
//! | [`kernels`] | the hot passes over genes |
//! | [`sampling`] | seeded random streams, mini-batches, augmentation |
//! | [`layers`] | sparsely connected, batchified, dense and normalising layers |
//! | [`likelihood`] | the count distributions as a loss |
//! | [`model`] | encoder, decoder, the whole, its settings and saved form |
//! | [`training`] | optimiser, loop, alignment of batches that come later |
//! | [`results`] | embedding, reconstruction, style transfer, scScore, mapping of new batches |
//!
//! `values` lends [`layers`], [`likelihood`], [`model`] and [`training`] the numbers of a tensor where they lie.
//!
//! The bridge to R (feature `r`) converts and reports; it computes nothing.

#[cfg(feature = "r")]
pub mod bridge;
pub mod counts;
mod error;
pub mod kernels;
pub mod layers;
pub mod likelihood;
pub mod model;
pub mod results;
pub mod sampling;
pub mod training;
mod values;

pub use error::{Error, Result, Stop};
