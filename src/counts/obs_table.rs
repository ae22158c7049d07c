//! The tables beside the counts, as anndata stores data frames: `obs`, a row per cell, and `var`, a row per gene. Their
//! index and their columns, as text.

use hdf5::types::{FloatSize, TypeDescriptor};

use super::hdf::{quoted, Hdf, Kind, Length};
use super::hdf_text;
use crate::{Error, Result};

/// The index of a table: names of cells or genes.
pub(super) fn names(hdf: &Hdf, table: &str) -> Result<Vec<String>> {
    let place = format!("{table}/{}", index_column(hdf, table)?);
    let names = values(hdf, &place, Length::Names)?;
    Ok(names
        .into_iter()
        .map(|n| n.unwrap_or_else(|| "NA".into()))
        .collect())
}

/// Names of the columns of a table, in its order.
pub(super) fn columns(hdf: &Hdf, table: &str) -> Result<Vec<String>> {
    let index = index_column(hdf, table)?;
    let mut rest = hdf.members(table);
    rest.retain(|name| *name != index && name != "__categories");
    // Where there are no columns the attribute is an empty array of numbers.
    let order = hdf_text::attribute(hdf, table, "column-order")?.unwrap_or_default();
    let mut columns: Vec<String> = Vec::new();
    for name in order {
        // A name with a slash lies in groups within the group, so members do not list it.
        if hdf.kind(&format!("{table}/{name}")).is_some() && !columns.contains(&name) {
            columns.push(name);
        }
    }
    if columns.is_empty() {
        columns = rest;
    }
    Ok(columns)
}

/// One column of a table: categories, text, numbers or booleans as text; `None` where a value is missing.
pub(super) fn column(hdf: &Hdf, table: &str, name: &str) -> Result<Vec<Option<String>>> {
    let place = format!("{table}/{name}");
    let index = index_column(hdf, table)?;
    if name.is_empty() || hdf.kind(&place).is_none() {
        return Err(Error::File(format!(
            "'{}' has no {table} column '{name}'; its columns are {}",
            hdf.path(),
            quoted(&columns(hdf, table)?)
        )));
    }
    let length = Length::Exactly(n_values(hdf, &format!("{table}/{index}"))?);
    // anndata 0.7 kept the categories of a column beside the columns.
    let categories = format!("{table}/__categories/{name}");
    if hdf.kind(&categories).is_some() {
        return categorical(hdf, &categories, &place, length);
    }
    values(hdf, &place, length)
}

fn index_column(hdf: &Hdf, table: &str) -> Result<String> {
    if hdf.kind(table) == Some(Kind::Dataset) {
        return Err(hdf.error(format_args!(
            "was written by an anndata before 0.7, whose {table} this package does not read; open it with a current \
             anndata and save it again"
        )));
    }
    let named = hdf_text::attribute(hdf, table, "_index")?.and_then(|v| v.into_iter().next());
    let candidates = named.into_iter().chain(["_index".into(), "index".into()]);
    for name in candidates {
        if hdf.kind(&format!("{table}/{name}")).is_some() {
            return Ok(name);
        }
    }
    Err(hdf.error(format_args!(
        "has no {table} with an index (the names of its {}); it may be damaged",
        if table == "obs" { "cells" } else { "genes" }
    )))
}

/// How many values an encoded array has.
fn n_values(hdf: &Hdf, place: &str) -> Result<usize> {
    let place = match parts(hdf, place) {
        Parts::Plain | Parts::Unknown => place.to_string(),
        Parts::Categorical => format!("{place}/codes"),
        Parts::Masked => format!("{place}/values"),
    };
    let dataset = hdf.dataset(&place)?;
    hdf.length(&dataset, &place)
}

/// What an encoded array consists of.
enum Parts {
    Plain,
    /// Categories, and codes that point to them.
    Categorical,
    /// Values, and a mask that says which are missing.
    Masked,
    Unknown,
}

fn parts(hdf: &Hdf, place: &str) -> Parts {
    if hdf.kind(place) == Some(Kind::Dataset) {
        return Parts::Plain;
    }
    let has = |name: &str| hdf.kind(&format!("{place}/{name}")) == Some(Kind::Dataset);
    if has("codes") && hdf.kind(&format!("{place}/categories")).is_some() {
        Parts::Categorical
    } else if has("values") && has("mask") {
        Parts::Masked
    } else {
        Parts::Unknown
    }
}

/// The values of an encoded array, of any kind, as text.
fn values(hdf: &Hdf, place: &str, length: Length) -> Result<Vec<Option<String>>> {
    match parts(hdf, place) {
        Parts::Categorical => {
            let categories = format!("{place}/categories");
            categorical(hdf, &categories, &format!("{place}/codes"), length)
        }
        _ => uncoded(hdf, place, length),
    }
}

/// The values of an array that is encoded in another way than by categories.
fn uncoded(hdf: &Hdf, place: &str, length: Length) -> Result<Vec<Option<String>>> {
    match parts(hdf, place) {
        Parts::Plain => plain(hdf, place, length),
        Parts::Masked => {
            let mut values = plain(hdf, &format!("{place}/values"), length)?;
            let length = Length::Exactly(values.len());
            let mask: Vec<i64> = hdf.all_numbers(&format!("{place}/mask"), length)?;
            for (value, &missing) in values.iter_mut().zip(&mask) {
                if missing != 0 {
                    *value = None;
                }
            }
            Ok(values)
        }
        Parts::Categorical | Parts::Unknown => Err(hdf.error(format_args!(
            "stores {place} in a way this package does not read; turn it into text or categories and save the file \
             again"
        ))),
    }
}

fn categorical(
    hdf: &Hdf,
    categories: &str,
    codes: &str,
    length: Length,
) -> Result<Vec<Option<String>>> {
    // Not coded in turn: a damaged file could lead in a circle.
    let labels = uncoded(hdf, categories, Length::Names)?;
    let codes_read: Vec<i64> = hdf.all_numbers(codes, length)?;
    codes_read
        .into_iter()
        .map(|code| {
            if code < 0 {
                return Ok(None);
            }
            labels.get(code as usize).cloned().ok_or_else(|| {
                hdf.error(format_args!(
                    "is damaged: {codes} has code {code} for {} categories",
                    labels.len()
                ))
            })
        })
        .collect()
}

fn plain(hdf: &Hdf, place: &str, length: Length) -> Result<Vec<Option<String>>> {
    fn shown<T: ToString>(values: Vec<T>) -> Vec<Option<String>> {
        values.iter().map(|v| Some(v.to_string())).collect()
    }
    // Numbers print in their own precision; not-a-number is how pandas says missing.
    macro_rules! floats {
        ($t:ty) => {{
            let values: Vec<$t> = hdf.all_numbers(place, length)?;
            let show = |v: $t| (!v.is_nan()).then(|| v.to_string());
            values.into_iter().map(show).collect()
        }};
    }
    let dataset = hdf.dataset(place)?;
    Ok(match hdf_text::descriptor(hdf, &dataset, place)? {
        TypeDescriptor::Integer(_) => shown(hdf.all_numbers::<i64>(place, length)?),
        TypeDescriptor::Unsigned(_) => shown(hdf.all_numbers::<u64>(place, length)?),
        TypeDescriptor::Float(FloatSize::U4) => floats!(f32),
        TypeDescriptor::Float(_) => floats!(f64),
        TypeDescriptor::Boolean => labelled(hdf, place, length, &[("FALSE", 0), ("TRUE", 1)])?,
        TypeDescriptor::Enum(kind) => {
            let members = kind.members.iter();
            let labels: Vec<(&str, i64)> =
                members.map(|m| (m.name.as_str(), m.value as i64)).collect();
            labelled(hdf, place, length, &labels)?
        }
        _ => shown(hdf_text::strings(hdf, place, length)?),
    })
}

/// Values of an HDF5 enumeration (booleans are one), by the names the file gives them.
fn labelled(
    hdf: &Hdf,
    place: &str,
    length: Length,
    labels: &[(&str, i64)],
) -> Result<Vec<Option<String>>> {
    let values: Vec<i64> = hdf.all_numbers(place, length)?;
    let name = |v: i64| {
        let label = labels.iter().find(|(_, value)| *value == v);
        label.map(|(name, _)| (*name).to_string())
    };
    Ok(values.into_iter().map(name).collect())
}
