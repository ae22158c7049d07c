//! Adds entries to an `.h5ad` file in the encodings of anndata: all of them or none. A copy beside the file is written
//! and takes its place when it is complete.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use hdf5::types::VarLenUnicode;
use hdf5::{Group, H5Type, Location};
use ndarray::Array2;

use super::hdf::{quoted, Hdf};
use super::shared_library::undisturbed;
use super::{h5ad, obs_table};
use crate::{Error, Result, Stop};

/// Bytes copied between two looks whether to stop.
const COPIED_AT_ONCE: u64 = 1 << 26;

/// Where in the file an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A matrix with a row for each cell.
    Obsm,
    /// A column with a number for each gene.
    Var,
    /// Anything.
    Uns,
}

/// A value as anndata keeps it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: what the file has there is removed.
    Absent,
    /// True or false.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// An array of numbers, not-a-number where one is missing.
    Numbers(Vec<f64>),
    /// An array of text.
    Texts(Vec<String>),
    /// Rows and columns.
    Matrix(Array2<f64>),
    /// Values by name.
    Dict(Vec<(String, Value)>),
}

/// An entry to add.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it goes.
    pub slot: Slot,
    /// What it is called there.
    pub name: String,
    /// What it holds.
    pub value: Value,
}

impl Slot {
    fn group(self) -> &'static str {
        match self {
            Slot::Obsm => "obsm",
            Slot::Var => "var",
            Slot::Uns => "uns",
        }
    }
}

impl Entry {
    fn place(&self) -> String {
        format!("{}/{}", self.slot.group(), self.name)
    }
}

/// The names of an `.h5ad` file's cells and of its genes, those of `var`.
///
/// # Errors
/// [`Error::File`] when the file cannot be read or is not `.h5ad`; [`Error::Interrupted`] when asked to stop.
pub fn h5ad_names(path: impl AsRef<Path>, should_stop: Stop) -> Result<(Vec<String>, Vec<String>)> {
    undisturbed(|| {
        let hdf = open(path.as_ref(), should_stop)?;
        Ok((
            obs_table::names(&hdf, "obs")?,
            obs_table::names(&hdf, "var")?,
        ))
    })
}

/// Which of the entries the file has already.
///
/// # Errors
/// As [`h5ad_names`].
pub fn h5ad_has(
    path: impl AsRef<Path>,
    places: &[String],
    should_stop: Stop,
) -> Result<Vec<String>> {
    undisturbed(|| {
        let hdf = open(path.as_ref(), should_stop)?;
        let there = places.iter().filter(|place| hdf.kind(place).is_some());
        Ok(there.cloned().collect())
    })
}

/// Adds entries to a file; `overwrite` replaces those that it has. As a copy is written first there must be room for
/// one, in the same folder. Until all is written the file is as it was.
///
/// # Errors
/// [`Error::Argument`] when an entry has a name or a size that cannot be, or exists and is not to be replaced;
/// [`Error::File`] when the file cannot be read, is not `.h5ad`, or cannot be written; [`Error::Interrupted`] when
/// asked to stop. The file is untouched then.
pub fn add_to_h5ad(
    path: impl AsRef<Path>,
    entries: &[Entry],
    overwrite: bool,
    should_stop: Stop,
) -> Result<()> {
    // A link is to point to the new file.
    let path = &path.as_ref().canonicalize().map_err(|e| {
        let what = match e.kind() {
            ErrorKind::NotFound => "does not exist; check the path".to_string(),
            _ => format!("cannot be opened: {e}"),
        };
        Error::File(format!("'{}' {what}", path.as_ref().display()))
    })?;
    undisturbed(|| check(path, entries, overwrite, should_stop))?;
    let copy = Copy::of(path, should_stop)?;
    undisturbed(|| write(&copy.path, entries, should_stop)).map_err(|e| match e {
        Failed::Hdf5(e) => unwritten(path, &e),
        Failed::Ours(e) => e,
    })?;
    copy.take_its_place(path)
}

fn open<'a>(path: &Path, should_stop: Stop<'a>) -> Result<Hdf<'a>> {
    let hdf = Hdf::open(path, should_stop)?;
    if h5ad::recognised(&hdf) {
        return Ok(hdf);
    }
    Err(hdf.error("is not an .h5ad file, which is needed"))
}

fn unwritten(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::File(format!(
        "'{}' could not be written and is as it was: {why}; the disk may be full or the file in use",
        path.display()
    ))
}

/// Before anything is copied.
fn check(path: &Path, entries: &[Entry], overwrite: bool, should_stop: Stop) -> Result<()> {
    let hdf = open(path, should_stop)?;
    let count = |table: &str| Ok::<_, Error>(obs_table::names(&hdf, table)?.len());
    let (n_cells, n_genes) = (count("obs")?, count("var")?);
    let index = obs_table::index_column(&hdf, "var")?;
    let mut present = Vec::new();
    for entry in entries {
        check_name(&entry.name)?;
        check_value(&entry.value)?;
        if entry.slot == Slot::Var && entry.name == index {
            return Err(Error::Argument(format!(
                "'{}' keeps the names of its genes in {}; choose another name",
                hdf.path(),
                entry.place()
            )));
        }
        let sized = match (entry.slot, &entry.value) {
            (Slot::Obsm, Value::Matrix(values)) => values.nrows() == n_cells,
            (Slot::Var, Value::Numbers(values)) => values.len() == n_genes,
            (Slot::Uns, _) | (_, Value::Absent) => true,
            _ => false,
        };
        if !sized {
            return Err(Error::Argument(format!(
                "{} must have a value for each of the {n_cells} cells or {n_genes} genes of '{}'",
                entry.place(),
                hdf.path()
            )));
        }
        if hdf.kind(&entry.place()).is_some() {
            present.push(entry.place());
        }
    }
    if present.is_empty() || overwrite {
        return Ok(());
    }
    Err(Error::Argument(format!(
        "'{}' has {} already; replace with `overwrite = TRUE` or choose other names",
        hdf.path(),
        quoted(&present)
    )))
}

/// A name with a slash would lie in a group of its own.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name.contains(['/', '\0']) {
        return Err(Error::Argument(format!(
            "an entry cannot be called '{}'; give it a name without a slash",
            name.escape_default()
        )));
    }
    Ok(())
}

fn check_value(value: &Value) -> Result<()> {
    let texts = match value {
        Value::Dict(values) => {
            return values.iter().try_for_each(|(name, value)| {
                check_name(name)?;
                check_value(value)
            })
        }
        Value::Text(text) => std::slice::from_ref(text),
        Value::Texts(texts) => texts,
        _ => return Ok(()),
    };
    match texts.iter().find(|text| text.contains('\0')) {
        None => Ok(()),
        Some(text) => Err(Error::Argument(format!(
            "text cannot hold a zero character: '{}'",
            text.escape_default()
        ))),
    }
}

/// The copy, which goes away unless it takes the file's place.
struct Copy {
    path: PathBuf,
    /// Length and time of the file when it was copied.
    state: (u64, Option<std::time::SystemTime>),
}

fn state(path: &Path) -> std::io::Result<(u64, Option<std::time::SystemTime>)> {
    let about = std::fs::metadata(path)?;
    Ok((about.len(), about.modified().ok()))
}

impl Copy {
    fn of(path: &Path, should_stop: Stop) -> Result<Self> {
        let fail = |e: std::io::Error| unwritten(path, &e);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{name}-{}.part", std::process::id());
        let copy = Copy {
            path: path.with_file_name(name),
            state: state(path).map_err(fail)?,
        };
        let mut from = File::open(path).map_err(fail)?;
        let mut to = File::create(&copy.path).map_err(fail)?;
        loop {
            if should_stop() {
                return Err(Error::Interrupted);
            }
            let mut part = from.by_ref().take(COPIED_AT_ONCE);
            if std::io::copy(&mut part, &mut to).map_err(fail)? == 0 {
                break;
            }
        }
        let about = std::fs::metadata(path).map_err(fail)?;
        std::fs::set_permissions(&copy.path, about.permissions()).map_err(fail)?;
        Ok(copy)
    }

    /// On the disk first, then under the file's name.
    fn take_its_place(self, path: &Path) -> Result<()> {
        let fail = |e: std::io::Error| unwritten(path, &e);
        let written = File::options().write(true).open(&self.path);
        written.and_then(|f| f.sync_all()).map_err(fail)?;
        if state(path).map_err(fail)? != self.state {
            return Err(unwritten(path, &"another program has changed it meanwhile"));
        }
        std::fs::rename(&self.path, path).map_err(fail)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // After the renaming there is none.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Why the copy could not be completed.
enum Failed {
    Hdf5(hdf5::Error),
    Ours(Error),
}

impl From<hdf5::Error> for Failed {
    fn from(e: hdf5::Error) -> Self {
        Failed::Hdf5(e)
    }
}

impl From<Error> for Failed {
    fn from(e: Error) -> Self {
        Failed::Ours(e)
    }
}

type Attempt<T> = std::result::Result<T, Failed>;

fn write(path: &Path, entries: &[Entry], should_stop: Stop) -> Attempt<()> {
    let order = column_order(path, entries, should_stop)?;
    let file = hdf5::File::open_rw(path)?;
    // Before anndata 0.8 groups had no encoding; that of a file's own time is kept to.
    let encoded = file.attr("encoding-type").is_ok();
    for entry in entries {
        if should_stop() {
            return Err(Error::Interrupted.into());
        }
        let slot = entry.slot.group();
        let group = match file.link_exists(slot) {
            true => file.group(slot)?,
            false => dict(&file, slot, encoded)?,
        };
        if group.link_exists(&entry.name) {
            group.unlink(&entry.name)?;
        }
        // anndata 0.7 kept the categories of a column beside the columns.
        let categories = format!("__categories/{}", entry.name);
        let beside = entry.slot == Slot::Var && group.link_exists("__categories");
        if beside && group.link_exists(&categories) {
            group.unlink(&categories)?;
        }
        if entry.value != Value::Absent {
            put(&group, &entry.name, &entry.value, encoded)?;
        }
    }
    if let Some(order) = order {
        let var = file.group("var")?;
        if var.attr("column-order").is_ok() {
            var.delete_attr("column-order")?;
        }
        let order = texts(&order)?;
        let builder = var.new_attr_builder().with_data(&order);
        builder.create("column-order")?;
    }
    file.flush()?;
    Ok(file.close()?)
}

/// The columns of `var` with those that are new and without those that go, `None` if neither are.
fn column_order(path: &Path, entries: &[Entry], should_stop: Stop) -> Result<Option<Vec<String>>> {
    let mut new = entries.iter().filter(|e| e.slot == Slot::Var).peekable();
    if new.peek().is_none() {
        return Ok(None);
    }
    let mut order = obs_table::columns(&Hdf::open(path, should_stop)?, "var")?;
    for entry in new {
        order.retain(|name| *name != entry.name || entry.value != Value::Absent);
        if !order.contains(&entry.name) && entry.value != Value::Absent {
            order.push(entry.name.clone());
        }
    }
    Ok(Some(order))
}

fn text(value: &str) -> Attempt<VarLenUnicode> {
    value.parse().map_err(|e| {
        let what = format!("text cannot be written: {e}");
        Failed::Ours(Error::Argument(what))
    })
}

fn texts(values: &[String]) -> Attempt<Vec<VarLenUnicode>> {
    values.iter().map(|value| text(value)).collect()
}

fn encoding(place: &Location, kind: &str, version: &str) -> Attempt<()> {
    for (name, value) in [("encoding-type", kind), ("encoding-version", version)] {
        let attribute = place.new_attr::<VarLenUnicode>().create(name)?;
        attribute.write_scalar(&text(value)?)?;
    }
    Ok(())
}

fn dict(parent: &Group, name: &str, encoded: bool) -> Attempt<Group> {
    let group = parent.create_group(name)?;
    if encoded {
        encoding(&group, "dict", "0.1.0")?;
    }
    Ok(group)
}

fn put(group: &Group, name: &str, value: &Value, encoded: bool) -> Attempt<()> {
    fn scalar<T: H5Type>(group: &Group, name: &str, value: &T, kind: &str) -> Attempt<()> {
        let dataset = group.new_dataset::<T>().create(name)?;
        dataset.write_scalar(value)?;
        encoding(&dataset, kind, "0.2.0")
    }
    match value {
        Value::Absent => Ok(()),
        Value::Flag(value) => scalar(group, name, value, "numeric-scalar"),
        Value::Whole(value) => scalar(group, name, value, "numeric-scalar"),
        Value::Number(value) => scalar(group, name, value, "numeric-scalar"),
        Value::Text(value) => scalar(group, name, &text(value)?, "string"),
        Value::Numbers(values) => {
            let dataset = group.new_dataset_builder().with_data(values).create(name)?;
            encoding(&dataset, "array", "0.2.0")
        }
        Value::Texts(values) => {
            let values = texts(values)?;
            let builder = group.new_dataset_builder().with_data(&values);
            encoding(&*builder.create(name)?, "string-array", "0.2.0")
        }
        Value::Matrix(values) => {
            let dataset = group.new_dataset_builder().with_data(values).create(name)?;
            encoding(&dataset, "array", "0.2.0")
        }
        Value::Dict(values) => {
            let inner = dict(group, name, encoded)?;
            let mut values = values.iter();
            values.try_for_each(|(name, value)| put(&inner, name, value, encoded))
        }
    }
}
