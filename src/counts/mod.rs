//! Counts: one matrix type over memory that is ours or borrowed from R, its checks, its filter, and the file readers.

mod encoding;
mod file;
mod frame;
mod h5ad;
mod hdf;
mod matrix;
mod tenx;
mod view;

pub use file::{obs_column, obs_columns, CountsFile, FileFormat};
pub use matrix::CountMatrix;
pub use view::{filter, CountsView};
