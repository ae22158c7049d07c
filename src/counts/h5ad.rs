//! anndata's `.h5ad`: which matrices a file offers, and reading one with the names of its cells and genes.

use super::annotation::{select, Annotation};
use super::counts_file::{CountsFile, Features, FileFormat, Selection};
use super::features::{select_genes, FeatureTable, EXPRESSION};
use super::found::{find, Candidate};
use super::hdf::{quoted, Hdf};
use super::obs_table::{annotation, column, columns, names};
use super::stored_matrix;
use crate::{Error, Result};

/// Where the raw counts of a file may lie, and the names of their genes: now, and before anndata 0.7.
const RAW: [(&str, &str); 2] = [("raw/X", "raw/var"), ("raw.X", "raw.var")];

/// The column of genes that says of which type each is.
const FEATURE_TYPES: &str = "feature_types";

/// Whether the file looks like anndata's.
pub(super) fn recognised(hdf: &Hdf) -> bool {
    hdf.kind("obs").is_some() && hdf.kind("var").is_some()
}

/// The matrices a file offers: `X`, `raw`, and its layers by name, as `layers/raw` where the name is taken.
fn available(hdf: &Hdf) -> Vec<String> {
    let mut names = Vec::new();
    if hdf.kind("X").is_some() {
        names.push("X".to_string());
    }
    if raw(hdf).is_some() {
        names.push("raw".to_string());
    }
    for name in hdf.members("layers") {
        // Beside X or raw, a layer may be called the same.
        let taken = names.contains(&name);
        names.push(if taken {
            format!("layers/{name}")
        } else {
            name
        });
    }
    names
}

fn raw(hdf: &Hdf) -> Option<(&'static str, &'static str)> {
    RAW.into_iter().find(|(x, _)| hdf.kind(x).is_some())
}

/// Reads one matrix: the one that `layer` names, or that holds counts.
pub(super) fn read(hdf: &Hdf, selection: &Selection) -> Result<CountsFile> {
    let available = available(hdf);
    let place = |name: &str| match (name, raw(hdf)) {
        ("X", _) if hdf.kind("X").is_some() => ("X".to_string(), "var"),
        ("raw", Some((x, var))) => (x.to_string(), var),
        (name, _) if available.iter().any(|n| n == name) && name.starts_with("layers/") => {
            (name.to_string(), "var")
        }
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
            let main = usize::from(hdf.kind("X").is_some()) + usize::from(raw(hdf).is_some());
            let (i, passed_over) = find(hdf, &candidates, main)?;
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
    let features = features(hdf, var, gene_names)?;
    let keep = wanted(&features, selection.features, hdf.path())?;
    let matrix = stored_matrix::read(hdf, &place, cell_names.len(), features.names.len())
        .map_err(|e| not_counts(hdf, &layer, &available, e))?;
    let annotation = |table| match selection.annotation {
        true => annotation(hdf, table),
        false => Ok(Annotation::default()),
    };
    let mut genes = annotation(var)?;
    let (matrix, gene_names, left_out) = match &keep {
        None => (matrix, features.names, Vec::new()),
        Some(keep) => {
            genes.select(keep);
            let left_out = features.left_out(keep);
            let mut names = features.names;
            select(&mut names, keep);
            let matrix = select_genes(&matrix, keep, hdf.should_stop())?;
            (matrix, names, left_out)
        }
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
        left_out,
        cells: annotation("obs")?,
        genes,
    })
}

/// What scanpy keeps of the features' types when it has read a file of 10x Genomics.
fn features(hdf: &Hdf, var: &str, names: Vec<String>) -> Result<FeatureTable> {
    let types = match columns(hdf, var)?.iter().any(|n| n == FEATURE_TYPES) {
        false => None,
        true => {
            let types = column(hdf, var, FEATURE_TYPES)?.into_text();
            Some(types.into_iter().map(Option::unwrap_or_default).collect())
        }
    };
    Ok(FeatureTable {
        ids: Vec::new(),
        names,
        types,
        genomes: None,
    })
}

/// As of files of 10x Genomics, but a file whose types are others' is kept whole unless types are named.
fn wanted(features: &FeatureTable, asked: Features, path: &str) -> Result<Option<Vec<bool>>> {
    let types = features.types.iter().flatten();
    let knows_expression = types.into_iter().any(|t| t == EXPRESSION);
    match asked {
        Features::Expression if !knows_expression => Ok(None),
        asked => features.wanted(asked, path),
    }
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
