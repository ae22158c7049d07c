//! What the readers need of HDF5: places in a file, text, numbers by block, and errors that name file and place.

use std::ops::Range;
use std::path::Path;

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Container, Dataset, H5Type, LocationType};

use crate::{Error, Result};

/// Numbers read at once: 8 MiB in double precision.
const BLOCK: usize = 1 << 20;

/// Numbers read at once even if the file's chunks are larger: 128 MiB in double precision.
const LARGEST_BLOCK: usize = 1 << 24;

/// An open HDF5 file. A `place` is the path of a group or dataset within it.
pub(super) struct Hdf {
    file: hdf5::File,
    path: String,
}

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Group,
    Dataset,
}

impl Hdf {
    /// Opens a file for reading. The `hdf5` crate keeps the library from printing to stderr.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let fail = |text: String| Err(Error::File(format!("'{shown}' {text}")));
        if path.is_dir() {
            return fail("is a folder; an .h5ad file or a 10x Genomics .h5 file is needed".into());
        }
        if let Err(e) = std::fs::File::open(path) {
            return match e.kind() {
                std::io::ErrorKind::NotFound => fail("does not exist; check the path".into()),
                _ => fail(format!("cannot be opened: {e}")),
            };
        }
        match hdf5::File::open(path) {
            Ok(file) => Ok(Hdf { file, path: shown }),
            Err(e) if e.contains_minor(hdf5::MinorErrorCode::NotHdf5) => fail(
                "is not an HDF5 file; an .h5ad file or a 10x Genomics .h5 file is needed".into(),
            ),
            Err(e) => fail(format!(
                "cannot be opened as HDF5, is it cut short or in use? ({e})"
            )),
        }
    }

    /// A file error that names this file.
    pub(super) fn error(&self, text: impl std::fmt::Display) -> Error {
        Error::File(format!("'{}' {text}", self.path))
    }

    fn broken(&self, place: &str, e: &hdf5::Error) -> Error {
        self.error(format_args!(
            "holds {place}, but it cannot be read: {e}; the file may be damaged"
        ))
    }

    /// The file's path, as errors show it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What lies at `place`, `None` if nothing does.
    pub(super) fn kind(&self, place: &str) -> Option<Kind> {
        match self.file.loc_type_by_name(place) {
            Ok(LocationType::Group) => Some(Kind::Group),
            Ok(LocationType::Dataset) => Some(Kind::Dataset),
            _ => None,
        }
    }

    /// Names in a group, sorted; none if there is no such group.
    pub(super) fn members(&self, place: &str) -> Vec<String> {
        let mut names = self
            .file
            .group(place)
            .and_then(|g| g.member_names())
            .unwrap_or_default();
        names.sort();
        names
    }

    /// A text attribute (all its elements), `None` if it is absent or not text.
    pub(super) fn attribute(&self, place: &str, name: &str) -> Option<Vec<String>> {
        let attribute = match self.kind(place)? {
            Kind::Group => self.file.group(place).and_then(|g| g.attr(name)),
            Kind::Dataset => self.file.dataset(place).and_then(|d| d.attr(name)),
        };
        let attribute = attribute.ok()?;
        text(&attribute).ok().flatten()
    }

    /// An attribute of whole numbers, `None` if it is absent or not numbers.
    pub(super) fn whole_attribute(&self, place: &str, name: &str) -> Option<Vec<usize>> {
        let group = self.file.group(place).ok()?;
        group.attr(name).ok()?.read_raw().ok()
    }

    /// Opens a dataset whose compression this HDF5 can undo.
    pub(super) fn dataset(&self, place: &str) -> Result<Dataset> {
        if self.kind(place) != Some(Kind::Dataset) {
            return Err(self.error(format_args!("has no dataset {place}; it may be damaged")));
        }
        let dataset = self
            .file
            .dataset(place)
            .map_err(|e| self.broken(place, &e))?;
        match dataset.filters().iter().find(|f| !f.is_available()) {
            Some(filter) => Err(self.error(format_args!(
                "holds {place}, but compressed in a way this HDF5 library cannot undo (filter {}{}); save the file \
                 again with gzip compression",
                filter.id(),
                match filter.id() {
                    32000 => ", lzf",
                    32001 => ", blosc",
                    32004 => ", lz4",
                    32008 => ", bitshuffle",
                    32015 => ", zstd",
                    32026 => ", blosc2",
                    _ => "",
                }
            ))),
            None => Ok(dataset),
        }
    }

    /// Part of a one-dimensional dataset of numbers.
    pub(super) fn numbers<T: H5Type>(
        &self,
        dataset: &Dataset,
        range: Range<usize>,
    ) -> Result<Vec<T>> {
        dataset
            .read_slice_1d(range)
            .map(|a| a.into_raw_vec_and_offset().0)
            .map_err(|e| self.broken(&dataset.name(), &e))
    }

    /// All numbers of a dataset.
    pub(super) fn all_numbers<T: H5Type>(&self, place: &str) -> Result<Vec<T>> {
        self.dataset(place)?
            .read_raw()
            .map_err(|e| self.broken(place, &e))
    }

    /// Some rows of a two-dimensional dataset of numbers, row after row.
    pub(super) fn rows(&self, dataset: &Dataset, rows: Range<usize>) -> Result<Vec<f64>> {
        dataset
            .read_slice_2d(ndarray::s![rows, ..])
            .map(|a| a.into_raw_vec_and_offset().0)
            .map_err(|e| self.broken(&dataset.name(), &e))
    }

    /// All text of a dataset of any rank.
    pub(super) fn strings(&self, place: &str) -> Result<Vec<String>> {
        match text(&*self.dataset(place)?) {
            Ok(Some(strings)) => Ok(strings),
            Ok(None) => Err(self.error(format_args!("holds {place}, but it is not text"))),
            Err(e) => Err(self.broken(place, &e)),
        }
    }

    /// An empty vector with room for `n` elements: what a damaged file claims must not abort the program.
    pub(super) fn room<T>(&self, n: usize) -> Result<Vec<T>> {
        let mut v = Vec::new();
        v.try_reserve_exact(n).map_err(|_| {
            self.error(format_args!(
                "claims {n} values, more than this computer's memory holds"
            ))
        })?;
        Ok(v)
    }
}

/// Cuts `length` rows of `width` numbers into blocks that end where the dataset's chunks do, so that none is
/// decompressed twice, unless its chunks are too large for that.
pub(super) fn blocks(
    dataset: &Dataset,
    length: usize,
    width: usize,
) -> impl Iterator<Item = Range<usize>> {
    let width = width.max(1);
    let chunk = dataset
        .chunk()
        .and_then(|c| c.first().copied())
        .unwrap_or(1)
        .max(1);
    let wanted = (BLOCK / width).max(1);
    let step = (wanted.div_ceil(chunk) * chunk).min((LARGEST_BLOCK / width).max(1));
    (0..length)
        .step_by(step)
        .map(move |start| start..(start + step).min(length))
}

/// All text of a dataset or attribute, `None` if it does not hold text.
fn text(container: &Container) -> hdf5::Result<Option<Vec<String>>> {
    fn read<T: H5Type + AsRef<[u8]>>(container: &Container) -> hdf5::Result<Option<Vec<String>>> {
        let strings = container.read_raw::<T>()?;
        // Nothing promises that a file's text is UTF-8; padding after the first zero byte is not text.
        let decode = |s: &T| {
            let bytes = s.as_ref().split(|&b| b == 0).next().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        Ok(Some(strings.iter().map(decode).collect()))
    }
    // HDF5 converts between lengths of fixed text, but not between kinds of text.
    match container.dtype()?.to_descriptor()? {
        TypeDescriptor::VarLenUnicode => read::<VarLenUnicode>(container),
        TypeDescriptor::VarLenAscii => read::<VarLenAscii>(container),
        TypeDescriptor::FixedAscii(..=32) => read::<FixedAscii<32>>(container),
        TypeDescriptor::FixedAscii(..=256) => read::<FixedAscii<256>>(container),
        TypeDescriptor::FixedAscii(_) => read::<FixedAscii<4096>>(container),
        TypeDescriptor::FixedUnicode(..=32) => read::<FixedUnicode<32>>(container),
        TypeDescriptor::FixedUnicode(..=256) => read::<FixedUnicode<256>>(container),
        TypeDescriptor::FixedUnicode(_) => read::<FixedUnicode<4096>>(container),
        _ => Ok(None),
    }
}
