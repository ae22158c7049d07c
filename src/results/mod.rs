//! What comes out of a trained model.

mod embedding;
mod evidence;
mod expression_space;
mod null;
mod profiles;
mod reconstruction;
mod score;
mod strata;

pub(crate) use embedding::check_fit;
pub use embedding::{embed, embed_filtered, median_library, Embedding};
pub use evidence::{gene_evidence, Evidence};
pub use expression_space::ExpressionSpace;
pub use null::{n_null_copies, null_copies, BesideNull, WithCopies};
pub use reconstruction::{reconstruct, Output, Reconstruction};
pub use score::{mean_connections, repeat_fits, settings_of_fit, ScoredFit};

/// Cells handled at a time.
pub(crate) const CHUNK: usize = 256;
