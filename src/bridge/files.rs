//! Count files.
//!
//! They are read on R's thread. An HDF5 library that is safe for threads has one lock for all of them, and an R error
//! that rhdf5 or hdf5r raise from within the library leaves it locked for ever: only R's thread gets in again then.

use extendr_api::prelude::*;
use ndarray::Array2;

use super::convert::{array, names, to_r};
use super::run::interrupted;
use crate::counts::{
    add_to_h5ad, h5ad_has, h5ad_names, obs_column, obs_columns, Annotation, Column, CountMatrix,
    CountsFile, Entry, Features, Selection, Slot, Value,
};
use crate::{Error, Result};

/// Whole numbers up to here are exact in R's numbers.
const LARGEST_WHOLE: u64 = 1 << 53;

/// Reads counts from a file or folder. `feature_types`: `NULL` for gene expression, `"all"`, or types.
/// @noRd
#[extendr]
pub fn rs_read_counts(
    path: &str,
    layer: Option<String>,
    feature_types: Robj,
    annotation: bool,
) -> extendr_api::Result<List> {
    let types = names(&feature_types);
    let selection = Selection {
        layer: layer.as_deref(),
        features: match types.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Features::Expression,
            ["all"] => Features::All,
            _ => Features::Types(&types),
        },
        annotation,
    };
    let file = CountsFile::read_selected(path, &selection, &interrupted).map_err(to_r)?;
    let (n_cells, n_genes) = (file.matrix.n_cells() as i32, file.matrix.n_genes() as i32);
    Ok(list!(
        handle = ExternalPtr::new(file.matrix),
        n_cells = n_cells,
        n_genes = n_genes,
        cell_names = file.cell_names,
        gene_names = file.gene_names,
        gene_ids = file.gene_ids,
        format = file.format.name(),
        annotates_cells = file.format.annotates_cells(),
        layer = file.layer,
        layers = file.available,
        passed_over = pairs(file.passed_over.into_iter().map(|(n, w)| (n, w.into()))),
        left_out = pairs(
            file.left_out
                .into_iter()
                .map(|(kind, n)| (kind, (n as f64).into()))
        ),
        cells = annotation_list(file.cells),
        genes = annotation_list(file.genes)
    ))
}

fn pairs(entries: impl Iterator<Item = (String, Robj)>) -> List {
    let (names, values): (Vec<String>, Vec<Robj>) = entries.unzip();
    List::from_names_and_values(names, values).unwrap_or_default()
}

fn annotation_list(annotation: Annotation) -> List {
    let columns = annotation.columns.into_iter();
    let left_out = annotation.left_out.into_iter();
    list!(
        columns = pairs(columns.map(|(name, column)| (name, column_to_r(column)))),
        left_out = pairs(left_out.map(|(name, why)| (name, why.into())))
    )
}

/// In R's type that holds the values as they are: whole numbers that are too large for that become text.
fn column_to_r(column: Column) -> Robj {
    fn or_na(values: impl Iterator<Item = Option<f64>>) -> Robj {
        let values: Doubles = values
            .map(|v| v.map_or_else(Rfloat::na, Rfloat::from))
            .collect();
        values.into()
    }
    match column {
        Column::Logical(v) => {
            let values: Logicals = v
                .into_iter()
                .map(|v| v.map_or_else(Rbool::na, Rbool::from))
                .collect();
            values.into()
        }
        Column::Single(v) => or_na(v.into_iter().map(|v| v.map(f64::from))),
        Column::Double(v) => or_na(v.into_iter()),
        Column::Integer(v) if v.iter().flatten().all(|&n| n.unsigned_abs() < 1 << 31) => {
            let values: Integers = v
                .into_iter()
                .map(|v| v.map_or_else(Rint::na, |n| Rint::from(n as i32)))
                .collect();
            values.into()
        }
        Column::Integer(v)
            if v.iter()
                .flatten()
                .all(|n| n.unsigned_abs() <= LARGEST_WHOLE) =>
        {
            or_na(v.into_iter().map(|v| v.map(|n| n as f64)))
        }
        Column::Categories {
            codes,
            levels,
            ordered,
        } if are_distinct(&levels) => {
            let codes: Integers = codes
                .into_iter()
                .map(|c| c.map_or_else(Rint::na, |c| Rint::from(c as i32 + 1)))
                .collect();
            list!(codes = codes, levels = levels, ordered = ordered).into()
        }
        other => strings(other.into_text()).into(),
    }
}

fn are_distinct(names: &[String]) -> bool {
    let known: std::collections::HashSet<&String> = names.iter().collect();
    known.len() == names.len()
}

fn strings(values: Vec<Option<String>>) -> Strings {
    values
        .into_iter()
        .map(|v| v.map_or_else(Rstr::na, Rstr::from))
        .collect()
}

/// The slots of a `dgCMatrix` of genes x cells from what `rs_read_counts` returned.
/// @noRd
#[extendr]
pub fn rs_counts_slots(handle: ExternalPtr<CountMatrix<'static>>) -> extendr_api::Result<List> {
    slots(&handle).map_err(to_r)
}

fn slots(matrix: &CountMatrix) -> Result<List> {
    let mut offsets = vec![0i32];
    let mut n = 0usize;
    for cell in 0..matrix.n_cells() {
        n += matrix.n_detected(cell);
        offsets.push(i32::try_from(n).map_err(|_| {
            Error::Argument(
                "the file holds more than 2^31 - 1 counts above zero, more than a dgCMatrix can; give the path itself \
                 to fitSCVAE()"
                    .into(),
            )
        })?);
    }
    let (mut genes, mut values) = (Integers::new(n), Doubles::new(n));
    let mut at = 0;
    for cell in 0..matrix.n_cells() {
        matrix.for_each_in_cell(cell, |gene, value| {
            genes[at] = Rint::from(gene as i32);
            values[at] = Rfloat::from(f64::from(value));
            at += 1;
        });
    }
    Ok(list!(p = offsets, i = genes, x = values))
}

/// One column that a file has of its cells, as strings.
/// @noRd
#[extendr]
pub fn rs_read_obs(path: &str, column: &str) -> extendr_api::Result<Strings> {
    let column = obs_column(path, column, &interrupted).map_err(to_r)?;
    Ok(strings(column.into_text()))
}

/// Names of the columns that a file has of its cells.
/// @noRd
#[extendr]
pub fn rs_obs_columns(path: &str) -> extendr_api::Result<Vec<String>> {
    obs_columns(path, &interrupted).map_err(to_r)
}

/// Names of the cells and genes of an `.h5ad` file, and which of some places in it are taken.
/// @noRd
#[extendr]
pub fn rs_h5ad_contents(path: &str, places: Vec<String>) -> extendr_api::Result<List> {
    let (cells, genes) = h5ad_names(path, &interrupted).map_err(to_r)?;
    let taken = h5ad_has(path, &places, &interrupted).map_err(to_r)?;
    Ok(list!(cell_names = cells, gene_names = genes, taken = taken))
}

/// Adds entries to an `.h5ad` file: `obsm` is a named list of matrices, `var` one of numbers, `uns` one of anything. A
/// `NULL` in the first two removes what is there.
/// @noRd
#[extendr]
pub fn rs_add_to_h5ad(
    path: &str,
    obsm: List,
    var: List,
    uns: List,
    overwrite: bool,
) -> extendr_api::Result<()> {
    let entries = entries(&obsm, &var, &uns).map_err(to_r)?;
    add_to_h5ad(path, &entries, overwrite, &interrupted).map_err(to_r)
}

fn entries(obsm: &List, var: &List, uns: &List) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (slot, list) in [(Slot::Obsm, obsm), (Slot::Var, var), (Slot::Uns, uns)] {
        for (name, value) in list.iter() {
            let value = match slot {
                Slot::Obsm | Slot::Var if value.is_null() => Some(Value::Absent),
                Slot::Obsm => Some(Value::Matrix(array(&value, name)?)),
                Slot::Var => Some(Value::Numbers(value.as_real_vector().unwrap_or_default())),
                Slot::Uns => value_from_r(name, &value)?,
            };
            let name = name.to_string();
            entries.extend(value.map(|value| Entry { slot, name, value }));
        }
    }
    Ok(entries)
}

/// A vector of one value without dimensions is that value; `NULL` is nothing.
fn value_from_r(name: &str, value: &Robj) -> Result<Option<Value>> {
    if value.is_null() {
        return Ok(None);
    }
    if let Some(list) = value.as_list() {
        let mut values = Vec::new();
        for (name, value) in list.iter() {
            values.extend(value_from_r(name, &value)?.map(|value| (name.to_string(), value)));
        }
        return Ok(Some(Value::Dict(values)));
    }
    let dimensions = value.get_attrib("dim").map_or(0, |dim| dim.len());
    if dimensions == 2 {
        let matrix: Array2<f64> = array(value, name)?;
        return Ok(Some(Value::Matrix(matrix)));
    }
    let single = value.len() == 1 && dimensions == 0;
    let found = match (value.rtype(), single) {
        (Rtype::Logicals, true) => value.as_bool().map(Value::Flag),
        (Rtype::Integers, true) => value.as_integer().map(|n| Value::Whole(i64::from(n))),
        // Missing is not-a-number.
        (Rtype::Doubles, true) => value.as_real_slice().map(|x| Value::Number(x[0])),
        (Rtype::Strings, true) => value.as_str().map(|text| Value::Text(text.to_string())),
        (Rtype::Strings, false) => value.as_string_vector().map(Value::Texts),
        (Rtype::Doubles, false) => value.as_real_vector().map(Value::Numbers),
        _ => None,
    };
    match found {
        Some(value) => Ok(Some(value)),
        None => Err(Error::Argument(format!(
            "{name} cannot be written to a file"
        ))),
    }
}

extendr_module! {
    mod files;
    fn rs_read_counts;
    fn rs_counts_slots;
    fn rs_read_obs;
    fn rs_obs_columns;
    fn rs_h5ad_contents;
    fn rs_add_to_h5ad;
}
