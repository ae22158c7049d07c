//! Count files.
//!
//! They are read on R's thread. An HDF5 library that is safe for threads has one lock for all of them, and an R error
//! that rhdf5 or hdf5r raise from within the library leaves it locked for ever: only R's thread gets in again then.

use extendr_api::prelude::*;

use super::convert::to_r;
use super::run::interrupted;
use crate::counts::{obs_column, obs_columns, CountsFile};

/// Reads counts from an `.h5ad` or a 10x Genomics `.h5` file.
/// @noRd
#[extendr]
pub fn rs_read_counts(path: &str, layer: Option<String>) -> extendr_api::Result<List> {
    let file = CountsFile::read(path, layer.as_deref(), &interrupted).map_err(to_r)?;
    let (n_cells, n_genes) = (file.matrix.n_cells() as i32, file.matrix.n_genes() as i32);
    Ok(list!(
        handle = ExternalPtr::new(file.matrix),
        n_cells = n_cells,
        n_genes = n_genes,
        cell_names = file.cell_names,
        gene_names = file.gene_names,
        gene_ids = file.gene_ids,
        format = file.format.name(),
        layers = file.available
    ))
}

/// One column of an `.h5ad` file's `obs`, as strings.
/// @noRd
#[extendr]
pub fn rs_read_obs(path: &str, column: &str) -> extendr_api::Result<Strings> {
    let values = obs_column(path, column, &interrupted).map_err(to_r)?;
    Ok(values
        .into_iter()
        .map(|v| v.map_or_else(Rstr::na, Rstr::from))
        .collect())
}

/// Names of the columns of an `.h5ad` file's `obs`.
/// @noRd
#[extendr]
pub fn rs_obs_columns(path: &str) -> extendr_api::Result<Vec<String>> {
    obs_columns(path, &interrupted).map_err(to_r)
}

extendr_module! {
    mod files;
    fn rs_read_counts;
    fn rs_read_obs;
    fn rs_obs_columns;
}
