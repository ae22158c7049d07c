//! Reads counts from a file: its kind is recognised by content, not by name.

use std::path::Path;

use super::hdf::{quoted, Hdf};
use super::shared_library::undisturbed;
use super::{h5ad, obs_table, tenx, CountsFile};
use crate::{Error, Result, Stop};

impl CountsFile {
    /// Reads the counts of an `.h5ad` file or a 10x Genomics `.h5` file. Beside the result, at most a block of 128 MiB
    /// is in memory (more only if a dense row or a compressed chunk of the file is larger).
    ///
    /// `layer`: for `.h5ad`, `None` or `"X"` is X, `"raw"` is raw/X, any other name a layer. For 10x Genomics, `None`,
    /// or the genome if the file holds several (CellRanger 2). Features other than gene expression are left out.
    ///
    /// `should_stop` is asked before every block.
    ///
    /// # Errors
    /// [`Error::File`] when the file is missing, damaged, of another kind, or lacks the layer;
    /// [`Error::Argument`] when `layer` makes no sense for the kind of file; [`Error::Counts`] when a value is not a
    /// finite whole number from 0 to 2^24; [`Error::Interrupted`] when asked to stop.
    ///
    /// ```no_run
    /// use scvae::counts::CountsFile;
    ///
    /// let never = || false;
    /// let file = CountsFile::read("counts.h5ad", None, &never)?;
    /// println!("{} cells, {} genes", file.matrix.n_cells(), file.matrix.n_genes());
    /// # Ok::<(), scvae::Error>(())
    /// ```
    pub fn read(path: impl AsRef<Path>, layer: Option<&str>, should_stop: Stop) -> Result<Self> {
        undisturbed(|| {
            let hdf = Hdf::open(path.as_ref(), should_stop)?;
            if h5ad::recognised(&hdf) {
                return h5ad::read(&hdf, layer);
            }
            let groups = tenx::groups(&hdf);
            if groups.is_empty() {
                return Err(unknown(&hdf));
            }
            tenx::read(&hdf, &groups, layer)
        })
    }
}

/// Names of the `obs` columns of an `.h5ad` file, in its order.
///
/// # Errors
/// [`Error::File`] when the file cannot be read or is not `.h5ad`; [`Error::Interrupted`] when asked to stop.
pub fn obs_columns(path: impl AsRef<Path>, should_stop: Stop) -> Result<Vec<String>> {
    undisturbed(|| obs_table::columns(&open_h5ad(path.as_ref(), should_stop)?, "obs"))
}

/// One `obs` column of an `.h5ad` file, one entry per cell, `None` where it is missing. Numbers and booleans come as
/// text: whole numbers without decimals, booleans as `TRUE` and `FALSE`.
///
/// # Errors
/// [`Error::File`] when the file cannot be read, is not `.h5ad`, or has no such column; [`Error::Interrupted`] when
/// asked to stop.
pub fn obs_column(
    path: impl AsRef<Path>,
    name: &str,
    should_stop: Stop,
) -> Result<Vec<Option<String>>> {
    undisturbed(|| obs_table::column(&open_h5ad(path.as_ref(), should_stop)?, "obs", name))
}

fn open_h5ad<'a>(path: &Path, should_stop: Stop<'a>) -> Result<Hdf<'a>> {
    let hdf = Hdf::open(path, should_stop)?;
    if h5ad::recognised(&hdf) {
        Ok(hdf)
    } else if tenx::groups(&hdf).is_empty() {
        Err(unknown(&hdf))
    } else {
        Err(hdf
            .error("is a 10x Genomics file, which has no obs columns; give the values themselves"))
    }
}

fn unknown(hdf: &Hdf) -> Error {
    hdf.error(format_args!(
        "is neither an .h5ad file nor a matrix of 10x Genomics; at its top level it holds {}",
        quoted(&hdf.members("/"))
    ))
}
