//! What goes to files: trained models, and trainings that are not finished. One safetensors container whose header
//! carries everything else as JSON; loading runs no code.

mod checkpoint;
mod container;
mod expression;
mod files;
mod model_file;
mod parts;
mod same_settings;
mod score_folder;
mod upgrade;

pub use checkpoint::{Checkpoint, Fingerprint, Resume};
pub use model_file::{Covariate, SavedModel};
pub use score_folder::{ScoreFolder, ScoreOrigin};
