//! scVAE: a sparsely connected variational autoencoder for single-cell RNA-seq counts.
//!
//! The house, in the order in which counts pass through it; each module uses only those above it:
//!
//! | module | holds |
//! |---|---|
//! | [`counts`] | the count matrix, its checks and filter, the file readers |
//! | [`kernels`] | the hot passes over genes, on slices; the count distributions, a file each |
//! | [`sampling`] | seeded random streams, mini-batches, augmentation |
//! | [`backend`] | the seam for devices: the kernels as operations on a device's tensors |
//! | [`layers`] | sparsely connected, batchified, dense and normalising layers |
//! | [`batches`] | what sets batches apart, before training |
//! | [`model`] | encoder, decoder, the whole, its settings |
//! | [`training`] | optimiser, the state that training advances, the loop |
//! | [`results`] | embedding, expression space, reconstruction, style transfer; scScore, what models know of genes, null copies |
//! | [`mapping`] | what is remembered of a model's cells, and batches that come later |
//! | [`saved`] | models and unfinished trainings in files |
//!
//! The bridge to R (feature `r`) converts and reports; it computes nothing.
//!
//! From counts to an embedding:
//!
//! ```
//! use scvae::backend::Cpu;
//! use scvae::batches::Design;
//! use scvae::counts::{filter, CountMatrix};
//! use scvae::model::Settings;
//! use scvae::results::embed;
//! use scvae::training::{train, Silent, TrainingCells};
//!
//! // 40 cells of two kinds, which have the even or the odd ones of 12 genes. `counts::CountsFile` reads a file.
//! let values = (0..40 * 12).map(|i| (i * i % 7 * ((i / 12 + i) % 2)) as f32).collect();
//! let genes = (0..40).flat_map(|_cell| 0..12).collect();
//! let offsets = (0..=40).map(|cell| 12 * cell).collect();
//! let matrix = CountMatrix::from_csr(offsets, genes, values, 12)?;
//!
//! let settings = Settings {
//!     n_hidden: 16,
//!     n_latent: 2,
//!     max_epochs: Some(3),
//!     ..Settings::default()
//! };
//! let view = filter(&matrix, 3, 2)?;
//! let batch = vec![0; view.n_cells()];
//! let cells = TrainingCells { view: &view, batch: &batch, design: &Design::single(1) };
//! let trained = train(cells, &settings, &Cpu, &Silent)?;
//! let embedding = embed(&trained.model, &view, &batch, &|| false)?;
//! assert_eq!(embedding.mean.dim(), (40, 2));
//! # Ok::<(), scvae::Error>(())
//! ```
//!
//! `examples/train_h5ad.rs` does this with a file, in parallel, and writes what comes out.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod backend;
pub mod batches;
#[cfg(feature = "r")]
#[allow(
    missing_docs,
    reason = "extendr's macros leave comments off what they write"
)]
pub mod bridge;
pub mod counts;
mod error;
pub mod kernels;
pub mod layers;
pub mod mapping;
pub mod model;
pub mod results;
pub mod sampling;
pub mod saved;
pub mod training;

pub(crate) use error::go_on;
pub use error::{Error, Result, Stop};
