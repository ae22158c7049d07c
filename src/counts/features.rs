//! The features of 10x Genomics: genes beside antibodies, guides and peaks; and names made unique.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::annotation::{select, Annotation, Column};
use super::counts_file::{CountsFile, Features, FileFormat, Selection};
use super::hdf::quoted;
use super::CountMatrix;
use crate::{go_on, Error, Result, Stop};

/// The type of features that are genes.
pub(super) const EXPRESSION: &str = "Gene Expression";

/// What files of 10x Genomics say of each feature.
pub(super) struct FeatureTable {
    pub ids: Vec<String>,
    pub names: Vec<String>,
    pub types: Option<Vec<String>>,
    pub genomes: Option<Vec<String>>,
}

/// A matrix of all features with what belongs to it.
pub(super) struct AllFeatures {
    pub matrix: CountMatrix<'static>,
    pub cell_names: Vec<String>,
    pub features: FeatureTable,
    pub format: FileFormat,
    pub available: Vec<String>,
    pub layer: String,
}

impl FeatureTable {
    /// Which features are wanted, `None` if all are; asked before the matrix is read. `path` is for errors.
    pub(super) fn wanted(&self, wanted: Features, path: &str) -> Result<Option<Vec<bool>>> {
        let types = match (&self.types, wanted) {
            (_, Features::All) | (None, Features::Expression) => return Ok(None),
            (Some(types), _) => types,
            (None, Features::Types(_)) => return Err(no_types(path)),
        };
        let expression = [EXPRESSION.to_string()];
        let names = match wanted {
            Features::Types(names) => names,
            _ => &expression,
        };
        let there = || {
            let kinds: HashSet<&String> = types.iter().collect();
            let mut kinds: Vec<String> = kinds.into_iter().cloned().collect();
            kinds.sort();
            quoted(&kinds)
        };
        if let Some(absent) = names.iter().find(|name| !types.contains(name)) {
            return Err(match wanted {
                Features::Types(_) => Error::Argument(format!(
                    "'{path}' holds no features of type '{absent}'; choose `feature_types` from {}",
                    there()
                )),
                _ => Error::File(format!(
                    "'{path}' holds no gene expression; its features are {}; choose with `feature_types`",
                    there()
                )),
            });
        }
        let keep: Vec<bool> = types.iter().map(|t| names.contains(t)).collect();
        Ok(keep.contains(&false).then_some(keep))
    }

    /// How many features of which types are left out.
    pub(super) fn left_out(&self, keep: &[bool]) -> Vec<(String, usize)> {
        let mut left_out: BTreeMap<&String, usize> = BTreeMap::new();
        for (kind, keep) in self.types.iter().flatten().zip(keep) {
            if !keep {
                *left_out.entry(kind).or_default() += 1;
            }
        }
        let counted = left_out.into_iter();
        counted.map(|(kind, n)| (kind.clone(), n)).collect()
    }

    /// As columns of the genes, called as scanpy calls them.
    fn annotation(&self) -> Annotation {
        let columns = [
            ("gene_ids", Some(&self.ids)),
            ("gene_symbols", Some(&self.names)),
            ("feature_types", self.types.as_ref()),
            ("genome", self.genomes.as_ref()),
        ];
        let columns = columns.into_iter();
        Annotation {
            columns: columns
                .filter_map(|(name, values)| Some((name.to_string(), Column::text(values?))))
                .collect(),
            left_out: Vec::new(),
        }
    }
}

/// That features have no types, where some are asked for.
pub(super) fn no_types(path: &str) -> Error {
    Error::Argument(format!(
        "'{path}' knows no types of features, so `feature_types` cannot be given; leave it out"
    ))
}

impl AllFeatures {
    /// The file with the features that `keep` is true for (`None`: all), their names made unique.
    pub(super) fn finish(
        self,
        keep: Option<Vec<bool>>,
        selection: &Selection,
        should_stop: Stop,
    ) -> Result<CountsFile> {
        let AllFeatures {
            mut matrix,
            features,
            ..
        } = self;
        let mut genes = match selection.annotation {
            true => features.annotation(),
            false => Annotation::default(),
        };
        let mut left_out = Vec::new();
        if let Some(keep) = &keep {
            matrix = select_genes(&matrix, keep, should_stop)?;
            left_out = features.left_out(keep);
            genes.select(keep);
        }
        let (mut names, mut ids) = (features.names, features.ids);
        if let Some(keep) = &keep {
            select(&mut names, keep);
            select(&mut ids, keep);
        }
        Ok(CountsFile {
            matrix,
            cell_names: self.cell_names,
            gene_names: make_unique(&names),
            gene_ids: ids,
            format: self.format,
            available: self.available,
            layer: self.layer,
            passed_over: Vec::new(),
            left_out,
            cells: Annotation::default(),
            genes,
        })
    }
}

/// The matrix of the genes that `keep` is true for.
pub(super) fn select_genes(
    matrix: &CountMatrix,
    keep: &[bool],
    should_stop: Stop,
) -> Result<CountMatrix<'static>> {
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
        go_on(cell, should_stop)?;
        matrix.for_each_in_cell(cell, |gene, value| {
            if let Some(gene) = position[gene as usize] {
                genes.push(gene);
                values.push(value);
            }
        });
        offsets.push(genes.len());
    }
    CountMatrix::from_csr_unless(should_stop, offsets, genes, values, n_genes as usize)
}

/// Names made unique as R's `make.unique` does: the first of equal names stays, the next become `name.1`, `name.2`,
/// skipping names that are taken.
pub(super) fn make_unique(names: &[String]) -> Vec<String> {
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
