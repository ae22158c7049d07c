//! The hot passes over genes, behind one interface: dense activations are "hidden x cells" or "genes x cells"
//! (cells contiguous), so that every inner loop runs over the cells of a mini-batch.

mod blocks;
pub mod closed_form;
mod count_loss;
mod decode;
mod encode;
mod interface;
pub mod math;
pub mod special;
mod types;
mod zero_tile;

pub use count_loss::{
    count_loss, count_loss_into, softmax_over_genes, CountLossInput, CountLossOutput,
};
pub use decode::DecodeGradients;
pub use interface::{Cpu, Kernels};
pub use types::{ConnectionList, GeneMajorCounts, SparseRows, Wiring};
