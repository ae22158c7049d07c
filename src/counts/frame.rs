//! Data frames as anndata stores them (`obs`, `var`): their index and their columns, as text.

use hdf5::types::{FloatSize, TypeDescriptor};

use super::hdf::{Hdf, Kind};
use crate::{Error, Result};

/// The index of a data frame: names of cells or genes.
pub(super) fn names(hdf: &Hdf, frame: &str) -> Result<Vec<String>> {
    let place = format!("{frame}/{}", index_column(hdf, frame)?);
    let names = values(hdf, &place)?;
    Ok(names
        .into_iter()
        .map(|n| n.unwrap_or_else(|| "NA".into()))
        .collect())
}

/// Names of the columns of a data frame, in its order.
pub(super) fn columns(hdf: &Hdf, frame: &str) -> Result<Vec<String>> {
    let index = index_column(hdf, frame)?;
    let mut rest = hdf.members(frame);
    rest.retain(|name| *name != index && name != "__categories");
    // Where there are no columns the attribute is an empty array of numbers.
    let order = hdf.attribute(frame, "column-order").unwrap_or_default();
    let mut columns: Vec<String> = Vec::new();
    for name in order {
        // A name with a slash lies in groups within the group, so members do not list it.
        if hdf.kind(&format!("{frame}/{name}")).is_some() && !columns.contains(&name) {
            columns.push(name);
        }
    }
    if columns.is_empty() {
        columns = rest;
    }
    Ok(columns)
}

/// One column of a data frame: categories, text, numbers or booleans as text; `None` where a value is missing.
pub(super) fn column(hdf: &Hdf, frame: &str, name: &str) -> Result<Vec<Option<String>>> {
    let place = format!("{frame}/{name}");
    index_column(hdf, frame)?;
    if name.is_empty() || hdf.kind(&place).is_none() {
        return Err(Error::File(format!(
            "'{}' has no {frame} column '{name}'; its columns are {}",
            hdf.path(),
            quoted(&columns(hdf, frame)?)
        )));
    }
    // anndata 0.7 kept the categories of a column beside the columns.
    let categories = format!("{frame}/__categories/{name}");
    if hdf.kind(&categories).is_some() {
        return categorical(hdf, &categories, &place);
    }
    values(hdf, &place)
}

/// Names in quotes, separated by commas; "none" for none.
pub(super) fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let quoted: Vec<String> = names.iter().map(|n| format!("'{n}'")).collect();
    quoted.join(", ")
}

fn index_column(hdf: &Hdf, frame: &str) -> Result<String> {
    if hdf.kind(frame) == Some(Kind::Dataset) {
        return Err(hdf.error(format_args!(
            "was written by an anndata before 0.7, whose {frame} this package does not read; open it with a current \
             anndata and save it again"
        )));
    }
    let named = hdf
        .attribute(frame, "_index")
        .and_then(|v| v.into_iter().next());
    let candidates = named.into_iter().chain(["_index".into(), "index".into()]);
    for name in candidates {
        if hdf.kind(&format!("{frame}/{name}")).is_some() {
            return Ok(name);
        }
    }
    Err(hdf.error(format_args!(
        "has no {frame} with an index (the names of its {}); it may be damaged",
        if frame == "obs" { "cells" } else { "genes" }
    )))
}

/// The values of an encoded array, of any kind, as text.
fn values(hdf: &Hdf, place: &str) -> Result<Vec<Option<String>>> {
    if hdf.kind(place) == Some(Kind::Dataset) {
        return plain(hdf, place);
    }
    let has = |name: &str| hdf.kind(&format!("{place}/{name}")) == Some(Kind::Dataset);
    if has("codes") && hdf.kind(&format!("{place}/categories")).is_some() {
        return categorical(
            hdf,
            &format!("{place}/categories"),
            &format!("{place}/codes"),
        );
    }
    if has("values") && has("mask") {
        let mut values = plain(hdf, &format!("{place}/values"))?;
        let mask: Vec<i64> = hdf.all_numbers(&format!("{place}/mask"))?;
        if mask.len() != values.len() {
            return Err(hdf.error(format_args!(
                "is damaged: {place} has {} values and {} in its mask",
                values.len(),
                mask.len()
            )));
        }
        for (value, &missing) in values.iter_mut().zip(&mask) {
            if missing != 0 {
                *value = None;
            }
        }
        return Ok(values);
    }
    Err(hdf.error(format_args!(
        "stores {place} in a way this package does not read; turn it into text or categories and save the file again"
    )))
}

fn categorical(hdf: &Hdf, categories: &str, codes: &str) -> Result<Vec<Option<String>>> {
    let labels = values(hdf, categories)?;
    let codes_read: Vec<i64> = hdf.all_numbers(codes)?;
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

fn plain(hdf: &Hdf, place: &str) -> Result<Vec<Option<String>>> {
    fn shown<T: ToString>(values: Vec<T>) -> Vec<Option<String>> {
        values.iter().map(|v| Some(v.to_string())).collect()
    }
    // Numbers print in their own precision; not-a-number is how pandas says missing.
    macro_rules! floats {
        ($t:ty) => {{
            let values: Vec<$t> = hdf.all_numbers(place)?;
            let show = |v: $t| (!v.is_nan()).then(|| v.to_string());
            values.into_iter().map(show).collect()
        }};
    }
    let kind = hdf
        .dataset(place)?
        .dtype()
        .and_then(|t| t.to_descriptor())
        .map_err(|e| hdf.error(format_args!("holds {place}, but its type is unknown: {e}")))?;
    Ok(match kind {
        TypeDescriptor::Integer(_) => shown(hdf.all_numbers::<i64>(place)?),
        TypeDescriptor::Unsigned(_) => shown(hdf.all_numbers::<u64>(place)?),
        TypeDescriptor::Float(FloatSize::U4) => floats!(f32),
        TypeDescriptor::Float(_) => floats!(f64),
        TypeDescriptor::Boolean => labelled(hdf, place, &[("FALSE", 0), ("TRUE", 1)])?,
        TypeDescriptor::Enum(kind) => {
            let members = kind.members.iter();
            let labels: Vec<(&str, i64)> =
                members.map(|m| (m.name.as_str(), m.value as i64)).collect();
            labelled(hdf, place, &labels)?
        }
        _ => shown(hdf.strings(place)?),
    })
}

/// Values of an HDF5 enumeration (booleans are one), by the names the file gives them.
fn labelled(hdf: &Hdf, place: &str, labels: &[(&str, i64)]) -> Result<Vec<Option<String>>> {
    let values: Vec<i64> = hdf.all_numbers(place)?;
    let name = |v: i64| {
        let label = labels.iter().find(|(_, value)| *value == v);
        label.map(|(name, _)| (*name).to_string())
    };
    Ok(values.into_iter().map(name).collect())
}
