//! The `.h5` matrices of 10x Genomics: CellRanger 3 and later (`/matrix`), CellRanger 2 (a group per genome).

use super::counts_file::{CountsFile, FileFormat, Selection};
use super::features::{AllFeatures, FeatureTable};
use super::hdf::{quoted, Hdf, Kind, Length};
use super::hdf_text::strings;
use super::stored_matrix;
use crate::{Error, Result};

/// The groups of a file that hold a matrix of 10x Genomics.
pub(super) fn groups(hdf: &Hdf) -> Vec<String> {
    let mut groups = hdf.members("/");
    groups.retain(|g| {
        let has = |name| hdf.kind(&format!("{g}/{name}")).is_some();
        ["barcodes", "data", "indices", "indptr"]
            .into_iter()
            .all(has)
            && (has("features") || has("gene_names"))
    });
    groups
}

/// Reads the matrix; of a file of CellRanger 2 with several genomes, the one that `layer` names.
pub(super) fn read(hdf: &Hdf, groups: &[String], selection: &Selection) -> Result<CountsFile> {
    let group = match (groups, selection.layer) {
        ([only], None) => only,
        (_, Some(name)) => groups.iter().find(|g| *g == name).ok_or_else(|| {
            if groups.len() > 1 {
                return Error::Argument(format!(
                    "'{}' has no genome '{name}'; choose `layer` from {}",
                    hdf.path(),
                    quoted(groups)
                ));
            }
            Error::Argument(format!(
                "'{}' is a 10x Genomics file without layers, so `layer` cannot be '{name}'; leave it out",
                hdf.path()
            ))
        })?,
        _ => {
            return Err(hdf.error(format_args!(
                "holds several genomes; choose one with `layer` from {}",
                quoted(groups)
            )))
        }
    };
    let cell_names = strings(hdf, &format!("{group}/barcodes"), Length::Names)?;
    let features = features(hdf, group)?;
    let keep = features.wanted(selection.features, hdf.path())?;
    let n_genes = features.names.len();
    let shape = format!("{group}/shape");
    let shape: Vec<usize> = match hdf.kind(&shape) {
        Some(_) => hdf.all_numbers(&shape, Length::Exactly(2))?,
        None => vec![n_genes, cell_names.len()],
    };
    if shape != [n_genes, cell_names.len()] {
        return Err(hdf.error(format_args!(
            "is damaged: {group} has shape {shape:?} (genes, cells), but {} gene names and {} barcodes",
            n_genes,
            cell_names.len()
        )));
    }
    let matrix =
        stored_matrix::by_cell(hdf, group, cell_names.len(), n_genes).map_err(|e| match e {
            Error::Counts(text) => Error::Counts(format!("'{}': {text}", hdf.path())),
            e => e,
        })?;
    let all = AllFeatures {
        matrix,
        cell_names,
        features,
        format: FileFormat::TenX,
        available: groups.to_vec(),
        layer: group.clone(),
    };
    all.finish(keep, selection, hdf.should_stop())
}

fn features(hdf: &Hdf, group: &str) -> Result<FeatureTable> {
    let is_version_3 = hdf.kind(&format!("{group}/features")) == Some(Kind::Group);
    let (ids, names) = match is_version_3 {
        true => ("features/id", "features/name"),
        false => ("genes", "gene_names"),
    };
    let names = strings(hdf, &format!("{group}/{names}"), Length::Names)?;
    let of_each = |name: &str| {
        let place = format!("{group}/{name}");
        let length = Length::Exactly(names.len());
        match hdf.kind(&place) {
            Some(_) => strings(hdf, &place, length).map(Some),
            None => Ok(None),
        }
    };
    Ok(FeatureTable {
        ids: of_each(ids)?.unwrap_or_else(|| names.clone()),
        types: of_each("features/feature_type")?,
        genomes: of_each("features/genome")?,
        names,
    })
}
