//! What sets batches apart: which there are, the pairs of their cells that match, and the differences that a model starts
//! from.

mod design;
mod differences;
mod initial_values;
mod matching;
mod profile;

pub use design::Design;
pub use initial_values::{BatchMeans, InitialValues};
pub(crate) use profile::log_profile;
