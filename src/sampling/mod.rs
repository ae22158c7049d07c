//! Randomness and mini-batches: seeded streams, the cells of a step, and their augmentation.

mod minibatch;
mod sampler;
mod streams;

pub use minibatch::MiniBatch;
pub use sampler::{chunks, Sampler, Sampling, Split};
pub use streams::{Purpose, Streams};
