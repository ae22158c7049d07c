//! What comes out of a trained model.

mod embedding;
mod reconstruction;
mod score;

pub(crate) use embedding::check_fit;
pub use embedding::{embed, embed_filtered, median_library, Embedding};
pub use reconstruction::{reconstruct, Output, Reconstruction};
pub use score::{mean_connections, repeat_fits, Repeats};

/// Cells handled at a time.
pub(crate) const CHUNK: usize = 256;
