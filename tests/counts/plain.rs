//! A plain dense matrix to compare with, and how proptest makes one.

use proptest::prelude::*;
use scvae::counts::CountMatrix;

/// Counts of cells (rows) over genes.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain {
    pub rows: Vec<Vec<f64>>,
    pub n_genes: usize,
}

impl Plain {
    pub fn of(matrix: &CountMatrix) -> Self {
        let rows = (0..matrix.n_cells())
            .map(|cell| {
                let mut row = vec![0.0; matrix.n_genes()];
                let mut previous = None;
                matrix.for_each_in_cell(cell, |gene, count| {
                    assert!(count > 0.0 && previous < Some(gene));
                    previous = Some(gene);
                    row[gene as usize] = f64::from(count);
                });
                row
            })
            .collect();
        Plain {
            rows,
            n_genes: matrix.n_genes(),
        }
    }

    pub fn n_cells(&self) -> usize {
        self.rows.len()
    }

    /// Offsets, genes and values by cell. `zeros`: keeps every third zero as an explicit entry; `reversed`: genes of a
    /// cell in decreasing order.
    pub fn by_cell(&self, zeros: bool, reversed: bool) -> (Vec<usize>, Vec<usize>, Vec<f64>) {
        let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
        for row in &self.rows {
            let mut entries: Vec<(usize, f64)> = row
                .iter()
                .copied()
                .enumerate()
                .filter(|&(gene, v)| v != 0.0 || (zeros && gene % 3 == 0))
                .collect();
            if reversed {
                entries.reverse();
            }
            genes.extend(entries.iter().map(|e| e.0));
            values.extend(entries.iter().map(|e| e.1));
            offsets.push(genes.len());
        }
        (offsets, genes, values)
    }

    pub fn transposed(&self) -> Plain {
        let row = |gene| self.rows.iter().map(|r: &Vec<f64>| r[gene]).collect();
        Plain {
            rows: (0..self.n_genes).map(row).collect(),
            n_genes: self.n_cells(),
        }
    }

    pub fn cell_names(&self) -> Vec<String> {
        (0..self.n_cells()).map(|i| format!("cell{i}")).collect()
    }

    pub fn gene_names(&self) -> Vec<String> {
        (0..self.n_genes).map(|i| format!("gene{i}")).collect()
    }
}

/// Up to 12 cells and 14 genes, about a third of the counts above zero, some very large; cells, genes and the whole
/// may be empty.
pub fn plain() -> impl Strategy<Value = Plain> {
    let count = prop_oneof![
        6 => Just(0.0),
        3 => (1u32..200).prop_map(f64::from),
        1 => Just(16_777_216.0),
    ];
    (0usize..13, 0usize..15).prop_flat_map(move |(n_cells, n_genes)| {
        let row = prop::collection::vec(count.clone(), n_genes);
        prop::collection::vec(row, n_cells).prop_map(move |rows| Plain { rows, n_genes })
    })
}

/// As [`plain`], with at least one cell and one gene, and one of its entries (cell, gene).
pub fn plain_with_entry() -> impl Strategy<Value = (Plain, usize, usize)> {
    plain()
        .prop_filter("needs an entry", |p| p.n_cells() > 0 && p.n_genes > 0)
        .prop_flat_map(|p| {
            let (n_cells, n_genes) = (p.n_cells(), p.n_genes);
            (Just(p), 0..n_cells, 0..n_genes)
        })
}

/// Values that are no counts, and what the error calls them.
pub const BAD_VALUES: [(f64, &str); 7] = [
    (-1.0, "negative"),
    (0.5, "not a whole number"),
    (1.0 - 1e-12, "not a whole number"),
    (16_777_217.0, "larger than 2^24"),
    (f64::NAN, "not finite"),
    (f64::INFINITY, "not finite"),
    (f64::NEG_INFINITY, "not finite"),
];
