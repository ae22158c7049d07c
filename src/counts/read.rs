//! Reads counts from a file: its kind is recognised by content, not by name.

use std::path::Path;

use super::features::no_types;
use super::hdf::{quoted, Hdf};
use super::shared_library::undisturbed;
use super::{h5ad, loom, mex, obs_table, tenx, Column, CountsFile, Features, Selection};
use crate::{Error, Result, Stop};

impl CountsFile {
    /// Reads the counts of an `.h5ad`, `.loom` or 10x Genomics `.h5` file, or of a folder with `matrix.mtx`, without
    /// annotation. Of 10x Genomics' features those of gene expression are read.
    ///
    /// `layer`: see [`Selection::layer`].
    ///
    /// `should_stop` is asked before every block.
    ///
    /// # Errors
    /// As [`CountsFile::read_selected`].
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
        let selection = Selection {
            layer,
            ..Selection::default()
        };
        CountsFile::read_selected(path, &selection, should_stop)
    }

    /// Reads what is selected of a file as [`CountsFile::read`] takes it. Of an HDF5 file at most a block of 128 MiB is
    /// in memory beside the result (more only if a dense row or a compressed chunk of the file is larger); of a folder
    /// as much again as the genes' numbers and the counts take.
    ///
    /// # Errors
    /// [`Error::File`] when the file is missing, damaged, of another kind, or lacks the layer;
    /// [`Error::Argument`] when the selection makes no sense for the kind of file; [`Error::Counts`] when a value is
    /// not a finite whole number from 0 to 2^24, or no matrix holds counts; [`Error::Interrupted`] when asked to stop.
    pub fn read_selected(
        path: impl AsRef<Path>,
        selection: &Selection,
        should_stop: Stop,
    ) -> Result<Self> {
        let path = path.as_ref();
        if mex::recognised(path) {
            return mex::read(path, selection, should_stop);
        }
        undisturbed(|| {
            let hdf = Hdf::open(path, should_stop)?;
            let groups = tenx::groups(&hdf);
            if !groups.is_empty() && !h5ad::recognised(&hdf) {
                return tenx::read(&hdf, &groups, selection);
            }
            if h5ad::recognised(&hdf) {
                return h5ad::read(&hdf, selection);
            }
            if let Features::Types(_) = selection.features {
                return Err(no_types(hdf.path()));
            }
            match () {
                () if loom::recognised(&hdf) => loom::read(&hdf, selection),
                () => Err(unknown(&hdf)),
            }
        })
    }
}

/// Names of the columns that an `.h5ad` or `.loom` file has of its cells, in its order.
///
/// # Errors
/// [`Error::File`] when the file cannot be read or is of another kind; [`Error::Interrupted`] when asked to stop.
pub fn obs_columns(path: impl AsRef<Path>, should_stop: Stop) -> Result<Vec<String>> {
    undisturbed(|| {
        let hdf = Hdf::open(path.as_ref(), should_stop)?;
        match annotated(&hdf)? {
            Annotated::H5ad => obs_table::columns(&hdf, "obs"),
            Annotated::Loom => Ok(loom::cell_columns(&hdf)),
        }
    })
}

/// One column that an `.h5ad` or `.loom` file has of its cells, one entry per cell. [`Column::into_text`] gives text.
///
/// # Errors
/// [`Error::File`] when the file cannot be read, is of another kind, or has no such column; [`Error::Interrupted`] when
/// asked to stop.
pub fn obs_column(path: impl AsRef<Path>, name: &str, should_stop: Stop) -> Result<Column> {
    undisturbed(|| {
        let hdf = Hdf::open(path.as_ref(), should_stop)?;
        match annotated(&hdf)? {
            Annotated::H5ad => obs_table::column(&hdf, "obs", name),
            Annotated::Loom => loom::cell_column(&hdf, name),
        }
    })
}

/// Files that know more of their cells than names.
enum Annotated {
    H5ad,
    Loom,
}

fn annotated(hdf: &Hdf) -> Result<Annotated> {
    match () {
        () if h5ad::recognised(hdf) => Ok(Annotated::H5ad),
        () if loom::recognised(hdf) => Ok(Annotated::Loom),
        () if tenx::groups(hdf).is_empty() => Err(unknown(hdf)),
        () => Err(hdf
            .error("is a 10x Genomics file, which has no obs columns; give the values themselves")),
    }
}

fn unknown(hdf: &Hdf) -> Error {
    hdf.error(format_args!(
        "is neither an .h5ad nor a .loom file nor a matrix of 10x Genomics; at its top level it holds {}",
        quoted(&hdf.members("/"))
    ))
}
