//! anndata's `.h5ad`: which matrices a file offers, and reading one with the names of its cells and genes.

use super::annotation::Annotation;
use super::counts_file::{CountsFile, FileFormat, Selection};
use super::found::{find, Candidate};
use super::hdf::{quoted, Hdf};
use super::obs_table::{annotation, names};
use super::stored_matrix;
use crate::{Error, Result};

/// Where the raw counts of a file may lie, and the names of their genes: now, and before anndata 0.7.
const RAW: [(&str, &str); 2] = [("raw/X", "raw/var"), ("raw.X", "raw.var")];

/// Whether the file looks like anndata's.
pub(super) fn recognised(hdf: &Hdf) -> bool {
    hdf.kind("obs").is_some() && hdf.kind("var").is_some()
}

/// The matrices a file offers: `X`, `raw`, and its layers by name.
fn available(hdf: &Hdf) -> Vec<String> {
    let mut names = Vec::new();
    if hdf.kind("X").is_some() {
        names.push("X".to_string());
    }
    if raw(hdf).is_some() {
        names.push("raw".to_string());
    }
    names.extend(hdf.members("layers"));
    names
}

fn raw(hdf: &Hdf) -> Option<(&'static str, &'static str)> {
    RAW.into_iter().find(|(x, _)| hdf.kind(x).is_some())
}

/// Reads one matrix: the one that `layer` names, or that holds counts.
pub(super) fn read(hdf: &Hdf, selection: &Selection) -> Result<CountsFile> {
    let available = available(hdf);
    let place = |name: &str| match (name, raw(hdf)) {
        ("X", _) => ("X".to_string(), "var"),
        ("raw", Some((x, var))) => (x.to_string(), var),
        _ => (format!("layers/{name}"), "var"),
    };
    let (layer, passed_over) = match selection.layer {
        Some(name) => (name.to_string(), Vec::new()),
        None if available.is_empty() => return Err(missing(hdf, "X", &available)),
        None => {
            let candidates: Vec<Candidate> = available
                .iter()
                .map(|name| Candidate {
                    name: name.clone(),
                    place: place(name).0,
                })
                .collect();
            let main = available.iter().take(2);
            let main = main.filter(|name| ["X", "raw"].contains(&name.as_str()));
            let (i, passed_over) = find(hdf, &candidates, main.count())?;
            (available[i].clone(), passed_over)
        }
    };
    // A layer must be one listed: a path into a layer is none.
    if !available.contains(&layer) {
        return Err(missing(hdf, &layer, &available));
    }
    let (place, var) = place(&layer);
    let cell_names = names(hdf, "obs")?;
    let gene_names = names(hdf, var)?;
    let matrix = stored_matrix::read(hdf, &place, cell_names.len(), gene_names.len())
        .map_err(|e| not_counts(hdf, &layer, &available, e))?;
    let annotation = |table| match selection.annotation {
        true => annotation(hdf, table),
        false => Ok(Annotation::default()),
    };
    Ok(CountsFile {
        matrix,
        cell_names,
        gene_ids: gene_names.clone(),
        gene_names,
        format: FileFormat::H5ad,
        available,
        layer,
        passed_over,
        left_out: Vec::new(),
        cells: annotation("obs")?,
        genes: annotation(var)?,
    })
}

fn missing(hdf: &Hdf, layer: &str, available: &[String]) -> Error {
    if hdf.kind("mod").is_some() {
        return hdf.error("is a MuData file; save the modality that holds the counts as .h5ad");
    }
    let what = match layer {
        "X" => "has no X".to_string(),
        "raw" => "has no raw counts (raw/X)".to_string(),
        name => format!("has no layer '{name}'"),
    };
    if available.is_empty() {
        return hdf.error(format_args!("{what}, nor any other matrix"));
    }
    hdf.error(format_args!(
        "{what}; choose `layer` from {}",
        quoted(available)
    ))
}

/// Adds where bad values were found, and where else counts may be.
fn not_counts(hdf: &Hdf, wanted: &str, available: &[String], e: Error) -> Error {
    let Error::Counts(text) = e else { return e };
    let others: Vec<String> = available.iter().filter(|n| *n != wanted).cloned().collect();
    let cure = if others.is_empty() {
        String::new()
    } else {
        format!(
            "; if the counts are elsewhere in it, choose `layer` from {}",
            quoted(&others)
        )
    };
    Error::Counts(format!("'{}', {wanted}: {text}{cure}", hdf.path()))
}
