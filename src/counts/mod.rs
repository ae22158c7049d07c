//! Counts: one matrix type over memory that is ours or borrowed from R, its checks, its filter, the
//! file readers, and what adds results to a file.

mod add_to_h5ad;
mod annotation;
mod counts_file;
mod features;
mod found;
mod h5ad;
mod hdf;
mod hdf_text;
mod loom;
mod matrix;
mod mex;
mod obs_table;
mod read;
mod shared_library;
mod stored_matrix;
mod tenx;
mod view;

pub use add_to_h5ad::{add_to_h5ad, h5ad_has, h5ad_names, Entry, Slot, Value};
pub use annotation::{Annotation, Column};
pub use counts_file::{CountsFile, Features, FileFormat, Selection};
pub use matrix::CountMatrix;
pub use read::{obs_column, obs_columns};
pub use shared_library::hdf5_version;
pub use view::{filter, CountsView};
