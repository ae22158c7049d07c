//! Counts: one matrix type over memory that is ours or borrowed from R, its checks, its filter, and the file readers.

mod counts_file;
mod h5ad;
mod hdf;
mod hdf_text;
mod matrix;
mod obs_table;
mod read;
mod shared_library;
mod stored_matrix;
mod tenx;
mod view;

pub use counts_file::{CountsFile, FileFormat};
pub use matrix::CountMatrix;
pub use read::{obs_column, obs_columns};
pub use shared_library::hdf5_version;
pub use view::{filter, CountsView};
