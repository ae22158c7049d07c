//! Counts: one matrix type over memory that is ours or borrowed from R, its checks, its filter, and the file readers.

mod matrix;
mod view;

pub use matrix::CountMatrix;
pub use view::{filter, CountsView};
