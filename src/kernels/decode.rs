//! The decoder's sparsely connected layer alone: hidden units -> genes, for results that need all genes' values.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::blocks::{cut, gene_blocks};
use super::instructions::Instructions;
use super::product::project;
use super::row::Row;
use super::tiles::Tiling;
use super::types::{Segment, Wiring};

/// `bias + (M * W) hidden`, genes x cells, of `hidden`: cells x hidden units. `bias` has one value per gene, or is segments x genes.
pub fn forward(
    instructions: impl Instructions,
    hidden: &[f32],
    segments: &[Segment],
    wiring: &Wiring,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let tiling = Tiling::new(segments, wiring);
    let mut rows = Vec::new();
    tiling.spread(hidden, wiring.n_hidden, &mut rows);
    let n_cells = tiling.n_cells;
    let mut out = vec![0.0; wiring.n_genes() * n_cells];
    let blocks = gene_blocks(wiring.n_genes());
    let parts = cut(&mut out, blocks.iter().map(|r| r.len() * n_cells));
    blocks.into_par_iter().zip(parts).for_each(|(genes, out)| {
        instructions.run(Block {
            hidden: &rows,
            tiling: &tiling,
            wiring,
            weights,
            bias,
            genes,
            out,
        });
    });
    out
}

struct Block<'a> {
    hidden: &'a [Row],
    tiling: &'a Tiling,
    wiring: &'a Wiring,
    weights: &'a [f32],
    bias: &'a [f32],
    genes: Range<usize>,
    out: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n_hidden = self.wiring.n_hidden;
        for (tile, runs) in self.tiling.runs.iter().enumerate() {
            let cells = self.tiling.cells(tile);
            let hidden = &self.hidden[tile * n_hidden..(tile + 1) * n_hidden];
            let rows = self.out.chunks_exact_mut(self.tiling.n_cells);
            for (gene, out) in self.genes.clone().zip(rows) {
                let n_genes = self.wiring.n_genes();
                let mut row = self.tiling.bias_row(tile, self.bias, n_genes, gene);
                project(
                    simd,
                    hidden,
                    runs,
                    self.wiring,
                    self.weights,
                    gene,
                    &mut row,
                );
                out[cells.clone()].copy_from_slice(&row.0[..cells.len()]);
            }
        }
    }
}
