//! The hot passes over genes, behind one interface: dense activations are "hidden x cells" or "genes x cells"
//! (cells contiguous), so that every inner loop runs over the cells of a mini-batch.

mod blocks;
pub mod closed_form;
mod count_loss;
mod decode;
mod encode;
pub mod math;
pub mod special;
mod types;
mod zero_tile;

pub use blocks::gene_blocks;
pub use count_loss::{
    count_loss, count_loss_into, softmax_over_genes, CountLossInput, CountLossOutput,
};
pub use decode::{decode_backward, decode_forward, DecodeGradients};
pub use encode::{encode_backward, encode_forward};
pub use types::{ConnectionList, GeneMajorCounts, SparseRows, Wiring};
