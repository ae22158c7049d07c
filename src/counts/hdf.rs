//! What the readers need of HDF5: places in a file, numbers by block, and errors that name file and place. What a file
//! claims is compared with what it holds before memory is asked for.

use std::ops::Range;
use std::path::Path;

use hdf5::filters::Filter;
use hdf5::{Container, Dataset, H5Type, LocationType};

use super::shared_library::is_simple;
use crate::{Error, Result, Stop};

/// Numbers read at once: 8 MiB in double precision.
const BLOCK: usize = 1 << 20;

/// Numbers read at once even if the file's chunks are larger: 128 MiB in double precision.
const LARGEST_BLOCK: usize = 1 << 24;

/// Bytes that a dataset may claim without having stored them: too few to matter.
const SMALL: u128 = 1 << 20;

/// Gzip makes nothing smaller than this.
const MOST_OF_GZIP: u128 = 1032;

/// Bytes that a chunk takes at least, however it is compressed.
const LEAST_OF_A_CHUNK: u128 = 4;

/// Bytes of an attribute that are read at most.
const LARGEST_ATTRIBUTE: usize = 1 << 24;

/// Names in a row that are the same, from which on they are what HDF5 gives where nothing was written.
const SAME_NAMES: usize = 10_000;

/// An open HDF5 file. A `place` is the path of a group or dataset within it.
pub(super) struct Hdf<'a> {
    file: hdf5::File,
    path: String,
    should_stop: Stop<'a>,
}

/// How many values a dataset must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Exactly(usize),
    /// Any number, since they are names: of cells, genes or categories. They differ from each other.
    Names,
}

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Group,
    Dataset,
}

impl<'a> Hdf<'a> {
    /// Opens a file for reading.
    pub(super) fn open(path: &Path, should_stop: Stop<'a>) -> Result<Self> {
        let shown = path.display().to_string();
        let fail = |text: String| Err(Error::File(format!("'{shown}' {text}")));
        if let Err(e) = std::fs::File::open(path) {
            return match e.kind() {
                std::io::ErrorKind::NotFound => fail("does not exist; check the path".into()),
                _ => fail(format!("cannot be opened: {e}")),
            };
        }
        match hdf5::File::open(path) {
            Ok(file) => Ok(Hdf {
                file,
                path: shown,
                should_stop,
            }),
            Err(e) if e.contains_minor(hdf5::MinorErrorCode::NotHdf5) => fail(
                "is not an HDF5 file; an .h5ad, .loom or 10x Genomics .h5 file is needed".into(),
            ),
            Err(e) => fail(format!(
                "cannot be opened as HDF5, is it cut short or in use? ({})",
                reason(&e)
            )),
        }
    }

    /// A file error that names this file.
    pub(super) fn error(&self, text: impl std::fmt::Display) -> Error {
        Error::File(format!("'{}' {text}", self.path))
    }

    pub(super) fn broken(&self, place: &str, e: &hdf5::Error) -> Error {
        self.error(format_args!(
            "holds {place}, but it cannot be read: {}; the file may be damaged",
            reason(e)
        ))
    }

    /// An interrupt, if one was asked for.
    pub(super) fn pause(&self) -> Result<()> {
        if (self.should_stop)() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// For work that asks by itself.
    pub(super) fn should_stop(&self) -> Stop<'a> {
        self.should_stop
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

    /// An attribute of a group or dataset, `None` if it is absent or of a type that we do not read.
    ///
    /// # Errors
    /// [`Error::File`] when it claims more than attributes hold.
    pub(super) fn attribute(&self, place: &str, name: &str) -> Result<Option<Container>> {
        let found = match self.kind(place) {
            Some(Kind::Group) => self.file.group(place).and_then(|g| g.attr(name)),
            Some(Kind::Dataset) => self.file.dataset(place).and_then(|d| d.attr(name)),
            None => return Ok(None),
        };
        let Ok(attribute) = found else {
            return Ok(None);
        };
        let Ok(kind) = attribute.dtype() else {
            return Ok(None);
        };
        if !is_simple(&kind) {
            return Ok(None);
        }
        let n = self.length(&attribute, &format!("{place}, attribute {name}"))?;
        match n.checked_mul(kind.size()) {
            Some(bytes) if bytes <= LARGEST_ATTRIBUTE => Ok(Some((*attribute).clone())),
            _ => Err(self.error(format_args!(
                "is damaged: attribute {name} of {place} claims {n} values"
            ))),
        }
    }

    /// An attribute of whole numbers, `None` if it is absent or not numbers.
    pub(super) fn whole_attribute(&self, place: &str, name: &str) -> Result<Option<Vec<usize>>> {
        let attribute = self.attribute(place, name)?;
        Ok(attribute.and_then(|a| a.read_raw().ok()))
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
        if let Some(filter) = dataset.filters().iter().find(|f| !f.is_available()) {
            return Err(self.error(format_args!(
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
            )));
        }
        let kind = dataset.dtype().map_err(|e| self.broken(place, &e))?;
        if !is_simple(&kind) {
            return Err(self.error(format_args!(
                "stores {place} as a type this package does not read; save it as numbers or text"
            )));
        }
        Ok(dataset)
    }

    /// Number of values.
    pub(super) fn length(&self, container: &Container, place: &str) -> Result<usize> {
        let space = container.space().map_err(|e| self.broken(place, &e))?;
        let shape = space.shape();
        // A space without dimensions holds one value, or none at all.
        if shape.is_empty() {
            return Ok(space.size());
        }
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        n.ok_or_else(|| {
            self.error(format_args!(
                "is damaged: {place} claims to be of size {shape:?}"
            ))
        })
    }

    /// Number of values of a dataset that is read as a whole, compared with what it must have and what it can hold.
    pub(super) fn checked_length(
        &self,
        dataset: &Dataset,
        place: &str,
        length: Length,
    ) -> Result<usize> {
        let n = self.length(dataset, place)?;
        match length {
            Length::Exactly(needed) if n != needed => Err(self.error(format_args!(
                "is damaged: {place} has {n} values where {needed} are needed"
            ))),
            _ => {
                self.check_storage(dataset, place, n)?;
                Ok(n)
            }
        }
    }

    /// Refuses a dataset that claims more values than what is stored for it can hold. HDF5 itself would give as many
    /// zeros or empty texts as are claimed, and allows whoever wrote the file to leave them out; nobody does.
    pub(super) fn check_storage(&self, dataset: &Dataset, place: &str, n: usize) -> Result<()> {
        let kind = dataset.dtype().map_err(|e| self.broken(place, &e))?;
        let stored = u128::from(dataset.storage_size());
        let filters = dataset.filters();
        let known =
            |f: &Filter| matches!(f, Filter::Deflate(_) | Filter::Shuffle | Filter::Fletcher32);
        let holds = if filters.is_empty() {
            stored
        } else if filters.iter().all(known) {
            stored * MOST_OF_GZIP
        } else {
            let values = dataset.chunk().unwrap_or_default();
            let values = values
                .iter()
                .fold(1, |n: u128, &d| n.saturating_mul(d as u128));
            (stored / LEAST_OF_A_CHUNK)
                .saturating_mul(values)
                .saturating_mul(kind.size() as u128)
        };
        let claimed = n as u128 * kind.size() as u128;
        if claimed > holds.max(SMALL) {
            return Err(self.error(format_args!(
                "is damaged: {place} claims {n} values, but only {stored} bytes are stored for them"
            )));
        }
        Ok(())
    }

    /// Part of a one-dimensional dataset, all of one with another number of dimensions.
    pub(super) fn part<T: H5Type>(
        &self,
        dataset: &Dataset,
        place: &str,
        range: Range<usize>,
    ) -> Result<Vec<T>> {
        self.pause()?;
        self.room::<T>(range.len())?;
        let read = if dataset.ndim() == 1 {
            let read = dataset.read_slice_1d(range.clone());
            read.map(|a| a.into_raw_vec_and_offset().0)
        } else {
            dataset.read_raw()
        };
        let read = read.map_err(|e| self.broken(place, &e))?;
        if read.len() == range.len() {
            Ok(read)
        } else {
            Err(self.error(format_args!(
                "is damaged: {place} has another shape than it had"
            )))
        }
    }

    /// All numbers of a dataset.
    pub(super) fn all_numbers<T: H5Type + PartialEq + Clone>(
        &self,
        place: &str,
        length: Length,
    ) -> Result<Vec<T>> {
        let dataset = self.dataset(place)?;
        let n = self.checked_length(&dataset, place, length)?;
        let mut numbers = self.room(n)?;
        let mut written = Written::new(length);
        for range in self.ranges(&dataset, place, n, 1)? {
            let block = self.part(&dataset, place, range)?;
            written.check(self, place, &block)?;
            numbers.extend(block);
        }
        Ok(numbers)
    }

    /// The parts in which a dataset of `n` values, each of `width` numbers, is read.
    pub(super) fn ranges(
        &self,
        dataset: &Dataset,
        place: &str,
        n: usize,
        width: usize,
    ) -> Result<Vec<Range<usize>>> {
        if dataset.ndim() == 1 {
            return Ok(blocks(dataset, n, width).collect());
        }
        if n.saturating_mul(width) > BLOCK {
            return Err(self.error(format_args!(
                "is damaged: {place} has {} dimensions where one is needed",
                dataset.ndim()
            )));
        }
        Ok(std::iter::once(0..n).collect())
    }

    /// Some rows and columns of a two-dimensional dataset of numbers, row after row.
    pub(super) fn tile(
        &self,
        dataset: &Dataset,
        place: &str,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Vec<f64>> {
        self.pause()?;
        self.room::<f64>(rows.len().saturating_mul(columns.len()))?;
        dataset
            .read_slice_2d(ndarray::s![rows, columns])
            .map(|a| a.into_raw_vec_and_offset().0)
            .map_err(|e| self.broken(place, &e))
    }

    /// An empty vector with room for `n` elements: what a damaged file claims must not abort the program.
    pub(super) fn room<T>(&self, n: usize) -> Result<Vec<T>> {
        let mut v = Vec::new();
        v.try_reserve_exact(n).map_err(|_| self.too_large(n))?;
        Ok(v)
    }

    /// Room for `n` more elements, for a vector whose length is not known before.
    pub(super) fn more_room<T>(&self, v: &mut Vec<T>, n: usize) -> Result<()> {
        v.try_reserve(n).map_err(|_| self.too_large(v.len() + n))
    }

    fn too_large(&self, n: usize) -> Error {
        self.error(format_args!(
            "claims {n} values, more than this computer's memory holds"
        ))
    }
}

/// Why the library failed. It may quote names of the file, which need not be UTF-8.
fn reason(e: &hdf5::Error) -> String {
    String::from_utf8_lossy(e.to_string().as_bytes()).into_owned()
}

/// Names in quotes, separated by commas; "none" for none.
pub(super) fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let quoted: Vec<String> = names.iter().map(|n| format!("'{n}'")).collect();
    quoted.join(", ")
}

/// Watches over names as they are read. A file that claims more names than it holds gives the same one for ever.
pub(super) struct Written<T> {
    watch: bool,
    last: Option<T>,
    same: usize,
}

impl<T: PartialEq + Clone> Written<T> {
    pub(super) fn new(length: Length) -> Self {
        Written {
            watch: length == Length::Names,
            last: None,
            same: 0,
        }
    }

    pub(super) fn check(&mut self, hdf: &Hdf, place: &str, block: &[T]) -> Result<()> {
        if !self.watch {
            return Ok(());
        }
        let mut last = self.last.as_ref();
        for value in block {
            self.same = if last == Some(value) {
                self.same + 1
            } else {
                0
            };
            last = Some(value);
            if self.same >= SAME_NAMES {
                return Err(hdf.error(format_args!(
                    "is damaged: {place} should hold names, but most were never written"
                )));
            }
        }
        self.last = last.cloned();
        Ok(())
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
