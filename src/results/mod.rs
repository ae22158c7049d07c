//! What comes out of a trained model.

mod embedding;
mod mapping;
mod reconstruction;
mod score;

pub use embedding::{embed, median_library, Embedding};
pub use mapping::{map_batches, remember};
pub use reconstruction::{reconstruct, Output, Reconstruction};
pub use score::{mean_connections, repeat_fits, Repeats};

/// Cells handled at a time.
const CHUNK: usize = 256;
