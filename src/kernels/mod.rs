//! The hot passes over genes, behind one interface. Their inner loops run over the cells of a mini-batch or over hidden
//! units, in vector instructions that are chosen at run time.

mod blocks;
pub mod closed_form;
mod decode;
mod decode_loss;
mod encode;
mod entries;
mod input_shift;
mod interface;
mod loss_passes;
pub mod math;
mod product;
mod softmax;
pub mod special;
mod tiles;
mod types;
mod zero_tile;

pub use decode_loss::{DecodeLossGradients, DecodeLossInput, Head, HeadGradients, Workspace};
pub use encode::log1p;
pub use interface::{Cpu, Kernels};
pub use softmax::softmax_over_genes;
pub use types::{ConnectionList, GeneMajorCounts, Segment, Wiring};
