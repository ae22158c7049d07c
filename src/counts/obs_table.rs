//! The tables beside the counts, as anndata stores data frames: `obs`, a row per cell, and `var`, a row per gene. Their
//! index and their columns.

use hdf5::types::{FloatSize, TypeDescriptor};

use super::annotation::{Annotation, Column};
use super::hdf::{quoted, Hdf, Kind, Length};
use super::hdf_text;
use crate::{Error, Result};

/// The index of a table: names of cells or genes.
pub(super) fn names(hdf: &Hdf, table: &str) -> Result<Vec<String>> {
    let place = format!("{table}/{}", index_column(hdf, table)?);
    let names = values(hdf, &place, Length::Names)?;
    Ok(names
        .into_text()
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

/// All columns of a table that can be read.
pub(super) fn annotation(hdf: &Hdf, table: &str) -> Result<Annotation> {
    collect(columns(hdf, table)?, |name| column(hdf, table, name))
}

/// Columns by their names, without those that cannot be read.
pub(super) fn collect(
    names: Vec<String>,
    read: impl Fn(&str) -> Result<Column>,
) -> Result<Annotation> {
    let mut annotation = Annotation::default();
    for name in names {
        match read(&name) {
            Ok(column) => annotation.columns.push((name, column)),
            Err(Error::File(why)) => annotation.left_out.push((name, why)),
            Err(e) => return Err(e),
        }
    }
    Ok(annotation)
}

/// One column of a table.
pub(super) fn column(hdf: &Hdf, table: &str, name: &str) -> Result<Column> {
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
        let ordered = ordered(hdf, &categories)?;
        return categorical(hdf, &categories, &place, ordered, length);
    }
    values(hdf, &place, length)
}

pub(super) fn index_column(hdf: &Hdf, table: &str) -> Result<String> {
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

/// The values of an encoded array, of any kind.
pub(super) fn values(hdf: &Hdf, place: &str, length: Length) -> Result<Column> {
    match parts(hdf, place) {
        Parts::Categorical => {
            let categories = format!("{place}/categories");
            let codes = format!("{place}/codes");
            categorical(hdf, &categories, &codes, ordered(hdf, place)?, length)
        }
        _ => uncoded(hdf, place, length),
    }
}

/// The values of an array that is encoded in another way than by categories.
fn uncoded(hdf: &Hdf, place: &str, length: Length) -> Result<Column> {
    match parts(hdf, place) {
        Parts::Plain => plain(hdf, place, length),
        Parts::Masked => {
            let mut values = plain(hdf, &format!("{place}/values"), length)?;
            let length = Length::Exactly(values.n_values());
            let mask: Vec<i64> = hdf.all_numbers(&format!("{place}/mask"), length)?;
            let missing: Vec<bool> = mask.iter().map(|&m| m != 0).collect();
            values.hide(&missing);
            Ok(values)
        }
        Parts::Categorical | Parts::Unknown => Err(hdf.error(format_args!(
            "stores {place} in a way this package does not read; turn it into text or categories and save the file \
             again"
        ))),
    }
}

/// Whether categories have an order.
fn ordered(hdf: &Hdf, place: &str) -> Result<bool> {
    let ordered = hdf.whole_attribute(place, "ordered")?;
    Ok(ordered.is_some_and(|o| o.first().is_some_and(|&o| o != 0)))
}

fn categorical(
    hdf: &Hdf,
    categories: &str,
    codes: &str,
    ordered: bool,
    length: Length,
) -> Result<Column> {
    // Not coded in turn: a damaged file could lead in a circle.
    let labels = uncoded(hdf, categories, Length::Names)?.into_text();
    let codes_read: Vec<i64> = hdf.all_numbers(codes, length)?;
    let code_of = |code: i64| match labels.get(usize::try_from(code).unwrap_or(usize::MAX)) {
        _ if code < 0 => Ok(None),
        // A category without a name is no category.
        Some(None) => Ok(None),
        Some(_) => Ok(u32::try_from(code).ok()),
        None => Err(hdf.error(format_args!(
            "is damaged: {codes} has code {code} for {} categories",
            labels.len()
        ))),
    };
    let codes = codes_read.into_iter().map(code_of).collect::<Result<_>>()?;
    let named = |label: Option<String>| label.unwrap_or_else(|| "NA".into());
    Ok(Column::Categories {
        codes,
        levels: labels.into_iter().map(named).collect(),
        ordered,
    })
}

fn plain(hdf: &Hdf, place: &str, length: Length) -> Result<Column> {
    fn whole<T>(values: Vec<T>) -> Vec<Option<T>> {
        values.into_iter().map(Some).collect()
    }
    // Not-a-number is how pandas says missing.
    macro_rules! floats {
        ($t:ty) => {{
            let values: Vec<$t> = hdf.all_numbers(place, length)?;
            let known = |v: $t| (!v.is_nan()).then_some(v);
            values.into_iter().map(known).collect()
        }};
    }
    let dataset = hdf.dataset(place)?;
    Ok(match hdf_text::descriptor(hdf, &dataset, place)? {
        TypeDescriptor::Integer(_) => Column::Integer(whole(hdf.all_numbers(place, length)?)),
        TypeDescriptor::Unsigned(_) => {
            let values: Vec<u64> = hdf.all_numbers(place, length)?;
            match values.iter().map(|&v| i64::try_from(v).map(Some)).collect() {
                Ok(values) => Column::Integer(values),
                Err(_) => Column::Text(values.iter().map(|v| Some(v.to_string())).collect()),
            }
        }
        TypeDescriptor::Float(FloatSize::U4) => Column::Single(floats!(f32)),
        TypeDescriptor::Float(_) => Column::Double(floats!(f64)),
        TypeDescriptor::Boolean => {
            let value = |v: i64| match v {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            };
            let values: Vec<i64> = hdf.all_numbers(place, length)?;
            Column::Logical(values.into_iter().map(value).collect())
        }
        TypeDescriptor::Enum(kind) => {
            let values: Vec<i64> = hdf.all_numbers(place, length)?;
            let name = |v: i64| {
                let label = kind.members.iter().find(|m| m.value as i64 == v);
                label.map(|m| m.name.clone())
            };
            Column::Text(values.into_iter().map(name).collect())
        }
        _ => Column::Text(whole(hdf_text::strings(hdf, place, length)?)),
    })
}
