//! The model: encoder, decoder, the two joined, its settings and its saved form.

mod anchors;
mod decoder;
mod design;
mod encoder;
mod extend;
mod gradients;
mod history;
mod likeness;
mod matching;
mod mode;
mod saved;
mod settings;
mod start;
mod vae;

pub use anchors::Anchors;
pub use decoder::{CountParameters, Decoder, SparseHead};
pub use design::Design;
pub use encoder::{Encoder, Posterior};
pub use gradients::{Gradients, Loss};
pub use history::{EpochRecord, History, Stopped};
pub use mode::Mode;
pub use saved::{Covariate, SavedModel};
pub use settings::{BatchMasks, BatchMeans, Settings};
pub use start::{Start, Stop};
pub use vae::{Rewired, Vae};

/// Streams of starting weights, one per layer. Modules with one layer per level of a covariate count on from theirs.
mod layer_ids {
    pub const ENCODER_SPARSE: u32 = 1;
    pub const ENCODER_FC: u32 = 2;
    pub const LATENT_MEAN: u32 = 3;
    pub const LATENT_VARIANCE: u32 = 4;
    pub const DECODER_FC: u32 = 5;
    pub const SCALE: u32 = 6;
    pub const DROPOUT: u32 = 7;
    pub const ENCODER_BATCH: u32 = 1 << 16;
    pub const DECODER_BATCH: u32 = 1 << 17;
}
