//! The `.h5` matrices of 10x Genomics: CellRanger 3 and later (`/matrix`), CellRanger 2 (a group per genome).

use std::collections::{HashMap, HashSet};

use super::counts_file::{CountsFile, FileFormat};
use super::hdf::{quoted, Hdf, Kind, Length};
use super::hdf_text::strings;
use super::{stored_matrix, CountMatrix};
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
pub(super) fn read(hdf: &Hdf, groups: &[String], layer: Option<&str>) -> Result<CountsFile> {
    let group = match (groups, layer) {
        ([only], None) => only,
        (_, Some(name)) => groups.iter().find(|g| *g == name).ok_or_else(|| {
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
    let (ids, names) = if hdf.kind(&format!("{group}/features")) == Some(Kind::Group) {
        ("features/id", "features/name")
    } else {
        ("genes", "gene_names")
    };
    let cell_names = strings(hdf, &format!("{group}/barcodes"), Length::Names)?;
    let mut gene_names = strings(hdf, &format!("{group}/{names}"), Length::Names)?;
    let ids = format!("{group}/{ids}");
    let mut gene_ids = match hdf.kind(&ids) {
        Some(_) => strings(hdf, &ids, Length::Exactly(gene_names.len()))?,
        None => gene_names.clone(),
    };
    let shape = format!("{group}/shape");
    let shape: Vec<usize> = match hdf.kind(&shape) {
        Some(_) => hdf.all_numbers(&shape, Length::Exactly(2))?,
        None => vec![gene_names.len(), cell_names.len()],
    };
    if shape != [gene_names.len(), cell_names.len()] {
        return Err(hdf.error(format_args!(
            "is damaged: {group} has shape {shape:?} (genes, cells), but {} gene names and {} barcodes",
            gene_names.len(),
            cell_names.len()
        )));
    }
    let mut matrix = stored_matrix::by_cell(hdf, group, cell_names.len(), gene_names.len())
        .map_err(|e| match e {
            Error::Counts(text) => Error::Counts(format!("'{}': {text}", hdf.path())),
            e => e,
        })?;
    if let Some(keep) = expression_only(hdf, group, gene_names.len())? {
        matrix = select_genes(hdf, &matrix, &keep)?;
        let mut kept = keep.iter();
        gene_names.retain(|_| kept.next() == Some(&true));
        let mut kept = keep.iter();
        gene_ids.retain(|_| kept.next() == Some(&true));
    }
    Ok(CountsFile {
        matrix,
        cell_names,
        gene_names: make_unique(&gene_names),
        gene_ids,
        format: FileFormat::TenX,
        available: groups.to_vec(),
    })
}

/// Which features are genes, `None` if all are: antibodies, guides and peaks follow other distributions.
fn expression_only(hdf: &Hdf, group: &str, n_features: usize) -> Result<Option<Vec<bool>>> {
    let place = format!("{group}/features/feature_type");
    if hdf.kind(&place).is_none() {
        return Ok(None);
    }
    let types = strings(hdf, &place, Length::Exactly(n_features))?;
    let keep: Vec<bool> = types.iter().map(|t| t == "Gene Expression").collect();
    if !keep.contains(&true) {
        let kinds: HashSet<&String> = types.iter().collect();
        let mut kinds: Vec<String> = kinds.into_iter().cloned().collect();
        kinds.sort();
        return Err(hdf.error(format_args!(
            "holds no gene expression; its features are {}",
            quoted(&kinds)
        )));
    }
    Ok(keep.contains(&false).then_some(keep))
}

fn select_genes(hdf: &Hdf, matrix: &CountMatrix, keep: &[bool]) -> Result<CountMatrix<'static>> {
    let mut n_genes = 0;
    let position: Vec<Option<u32>> = keep
        .iter()
        .map(|&k| {
            n_genes += u32::from(k);
            k.then(|| n_genes - 1)
        })
        .collect();
    let (mut offsets, mut genes, mut values) = (vec![0], Vec::new(), Vec::new());
    for cell in 0..matrix.n_cells() {
        if cell % 1024 == 0 {
            hdf.pause()?;
        }
        matrix.for_each_in_cell(cell, |gene, value| {
            if let Some(gene) = position[gene as usize] {
                genes.push(gene);
                values.push(value);
            }
        });
        offsets.push(genes.len());
    }
    CountMatrix::from_csr_unless(hdf.should_stop(), offsets, genes, values, n_genes as usize)
}

/// Names made unique as R's `make.unique` does: the first of equal names stays, the next become `name.1`, `name.2`,
/// skipping names that are taken.
fn make_unique(names: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut next: HashMap<&str, usize> = HashMap::new();
    let mut unique = Vec::with_capacity(names.len());
    for name in names {
        let Some(number) = next.get_mut(name.as_str()) else {
            next.insert(name, 1);
            unique.push(name.clone());
            continue;
        };
        let candidate = loop {
            let candidate = format!("{name}.{number}");
            *number += 1;
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        unique.push(candidate);
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::make_unique;

    fn unique(names: &[&str]) -> Vec<String> {
        make_unique(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>())
    }

    /// Expected values are those of R's `make.unique`.
    #[test]
    fn names_become_unique_as_in_r() {
        assert_eq!(unique(&["a", "a", "b", "a"]), ["a", "a.1", "b", "a.2"]);
        assert_eq!(
            unique(&["a", "a", "a.2", "a", "a.1"]),
            ["a", "a.3", "a.2", "a.4", "a.1"]
        );
        assert_eq!(
            unique(&["a.1", "a", "a", "a.1", "a"]),
            ["a.1", "a", "a.2", "a.1.1", "a.3"]
        );
        assert_eq!(unique(&["", ""]), ["", ".1"]);
    }
}
