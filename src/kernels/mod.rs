//! The hot passes over genes, on slices. Their inner loops run over the cells of a mini-batch or over hidden
//! units, in vector instructions that are chosen at run time.

mod adam;
mod blocks;
mod decode;
mod decode_loss;
mod distributions;
mod encode;
mod gene_statistics;
mod input_shift;
mod instructions;
mod log_probability;
mod loss_passes;
mod loss_types;
pub mod math;
mod normalise;
mod positive_counts;
mod product;
mod row;
mod softmax;
pub mod special;
mod tiles;
mod types;
#[cfg(all(test, target_arch = "x86_64"))]
mod vector_widths;
mod zero_tile;

pub use adam::{adam, AdamRule};
pub use decode::forward as decode;
pub use decode_loss::{decode_loss, Workspace};
pub use distributions::{negative_binomial, poisson, zero_inflated, Likelihood};
pub use encode::{backward as encode_backward, forward as encode_forward, log1p};
pub use gene_statistics::GeneStatistic;
pub use input_shift::{backward as input_shift_backward, forward as input_shift_forward};
pub use instructions::Instructions;
pub use log_probability::{LogProbability, Parameters};
pub use loss_types::{DecodeLossGradients, DecodeLossInput, Head, HeadGradients};
pub use normalise::{
    feature_statistics, normalise, normalise_backward, FeatureStatistics, NormaliseGradients,
};
pub use softmax::{log_softmax_over_genes, softmax_over_genes};
pub use types::{ConnectionList, GeneMajorCounts, Segment, Wiring};
