//! The hot passes over genes, behind one interface: dense activations are "hidden x cells" or "genes x cells"
//! (cells contiguous), so that every inner loop runs over the cells of a mini-batch.

mod types;

pub use types::GeneMajorCounts;
