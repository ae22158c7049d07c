//! Randomness and mini-batches: seeded streams, the cells of a step, and their augmentation.

mod dropout;
mod minibatch;
mod sampler;
mod streams;

pub use dropout::DropoutDraw;
#[cfg(feature = "cuda")]
pub(crate) use minibatch::{log_library_of, segments_of};
pub use minibatch::{CellRows, MiniBatch};
pub use sampler::{chunks, Sampler, Sampling, Split};
pub use streams::{Purpose, Streams};
