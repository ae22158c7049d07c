//! Counts from a file, whatever kind it is: the kind is recognised by content, not by name.

use std::path::Path;

use super::frame::{self, quoted};
use super::hdf::Hdf;
use super::{h5ad, tenx, CountMatrix};
use crate::{Error, Result};

/// The kinds of file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// anndata's `.h5ad`.
    H5ad,
    /// The `.h5` of 10x Genomics' CellRanger.
    TenX,
}

impl FileFormat {
    /// The name R knows it by: `"h5ad"` or `"10x"`.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::H5ad => "h5ad",
            FileFormat::TenX => "10x",
        }
    }
}

/// A count matrix read from a file, with the names of its cells and genes.
#[derive(Debug, Clone)]
pub struct CountsFile {
    /// The counts, cells x genes.
    pub matrix: CountMatrix<'static>,
    /// One name per cell: the index of `obs`, or the barcodes of 10x Genomics.
    pub cell_names: Vec<String>,
    /// One name per gene: the index of `var`; for 10x Genomics the gene names, made unique as R's `make.unique` does.
    pub gene_names: Vec<String>,
    /// One id per gene: those of 10x Genomics, else the same as the names.
    pub gene_ids: Vec<String>,
    /// The kind of file it was.
    pub format: FileFormat,
    /// What `layer` could have been: of an `.h5ad` file `X`, `raw` and the layers, as far as they exist; of a 10x
    /// Genomics file its groups.
    pub available: Vec<String>,
}

impl CountsFile {
    /// Reads the counts of an `.h5ad` file or a 10x Genomics `.h5` file. Beside the result, at most a block of 128 MiB
    /// is in memory (more only if a dense row or a compressed chunk of the file is larger).
    ///
    /// `layer`: for `.h5ad`, `None` or `"X"` is X, `"raw"` is raw/X, any other name a layer. For 10x Genomics, `None`,
    /// or the genome if the file holds several (CellRanger 2). Features other than gene expression are left out.
    ///
    /// # Errors
    /// [`Error::File`] when the file is missing, damaged, of another kind, or lacks the layer;
    /// [`Error::Argument`] when `layer` makes no sense for the kind of file; [`Error::Counts`] when a value is not a
    /// finite whole number from 0 to 2^24.
    pub fn read(path: impl AsRef<Path>, layer: Option<&str>) -> Result<Self> {
        let hdf = Hdf::open(path.as_ref())?;
        if h5ad::recognised(&hdf) {
            return h5ad::read(&hdf, layer);
        }
        let groups = tenx::groups(&hdf);
        if groups.is_empty() {
            return Err(unknown(&hdf));
        }
        tenx::read(&hdf, &groups, layer)
    }
}

fn unknown(hdf: &Hdf) -> Error {
    hdf.error(format_args!(
        "is neither an .h5ad file nor a matrix of 10x Genomics; at its top level it holds {}",
        quoted(&hdf.members("/"))
    ))
}

/// Names of the `obs` columns of an `.h5ad` file, in its order.
///
/// # Errors
/// [`Error::File`] when the file cannot be read or is not `.h5ad`.
pub fn obs_columns(path: impl AsRef<Path>) -> Result<Vec<String>> {
    frame::columns(&open_h5ad(path.as_ref())?, "obs")
}

/// One `obs` column of an `.h5ad` file, one entry per cell, `None` where it is missing. Numbers and booleans come as
/// text: whole numbers without decimals, booleans as `TRUE` and `FALSE`.
///
/// # Errors
/// [`Error::File`] when the file cannot be read, is not `.h5ad`, or has no such column.
pub fn obs_column(path: impl AsRef<Path>, name: &str) -> Result<Vec<Option<String>>> {
    let hdf = open_h5ad(path.as_ref())?;
    let column = frame::column(&hdf, "obs", name)?;
    let n_cells = frame::names(&hdf, "obs")?.len();
    if column.len() != n_cells {
        return Err(hdf.error(format_args!(
            "is damaged: obs column '{name}' has {} values for {n_cells} cells",
            column.len()
        )));
    }
    Ok(column)
}

fn open_h5ad(path: &Path) -> Result<Hdf> {
    let hdf = Hdf::open(path)?;
    if h5ad::recognised(&hdf) {
        Ok(hdf)
    } else if tenx::groups(&hdf).is_empty() {
        Err(unknown(&hdf))
    } else {
        Err(hdf
            .error("is a 10x Genomics file, which has no obs columns; give the values themselves"))
    }
}
