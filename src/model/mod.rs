//! The network: encoder, decoder, the two joined, its settings and the record of its training.

mod batch_rows;
mod decoder;
mod encoder;
mod history;
mod loss;
mod mode;
mod settings;
mod tensor_id;
mod vae;

pub use decoder::{CountParameters, Decoder, SparseHead};
pub use encoder::{Encoder, EncoderInput, Posterior};
pub(crate) use history::N_COLUMNS;
pub use history::{EpochRecord, History, Stopped};
pub use loss::{Gradient, Gradients, Loss};
pub use mode::{Dropout, Mode};
pub use settings::{BatchMasks, Settings};
pub use tensor_id::{DensePart, Level, NormPart, TensorId};
pub use vae::{Snapshot, Vae};

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
