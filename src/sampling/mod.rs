//! Randomness and mini-batches: seeded streams, the cells of a step, and their augmentation.

mod minibatch;
mod sampler;
mod streams;

#[cfg(feature = "cuda")]
pub(crate) use minibatch::{log_library_of, segments_of};
pub use minibatch::{CellRows, MiniBatch};
pub use sampler::{chunks, Sampler, Sampling, Split};
pub use streams::{Purpose, Streams};
