//! The part of the encoder's sparsely connected layer that is the same for all cells of a batch: what the batch's input
//! is reduced by, sent to the hidden units. One row for each batch that a mini-batch holds.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{gene_blocks, of_slots};
use super::types::Wiring;

/// `offsets (M * W)`, rows x hidden units, of `offsets`, rows x genes; `batch_of_row` says whose mask a row uses.
pub fn forward(
    offsets: &[f32],
    batch_of_row: &[usize],
    wiring: &Wiring,
    weights: &[f32],
) -> Vec<f32> {
    let n_rows = batch_of_row.len();
    let rows_of_masks = rows_of_masks(wiring, batch_of_row);
    let parts: Vec<Vec<f32>> = gene_blocks(wiring.n_genes())
        .into_par_iter()
        .map(|genes| {
            // Hidden units x rows, so that the inner loop runs over neighbours.
            let mut sums = vec![0.0; wiring.n_hidden * n_rows];
            let mut of_gene = vec![0.0; n_rows];
            for gene in genes {
                take_gene(offsets, wiring, gene, &mut of_gene);
                for (mask, rows) in &rows_of_masks {
                    let (units, slots) = wiring.masks[*mask].gene(gene);
                    for (&unit, &slot) in units.iter().zip(slots) {
                        let w = weights[slot as usize];
                        let sums = &mut sums[usize::from(unit) * n_rows..][rows.clone()];
                        for (sum, &x) in sums.iter_mut().zip(&of_gene[rows.clone()]) {
                            *sum += w * x;
                        }
                    }
                }
            }
            sums
        })
        .collect();
    let mut out = Vec::with_capacity(n_rows * wiring.n_hidden);
    for row in 0..n_rows {
        for unit in 0..wiring.n_hidden {
            let at = unit * n_rows + row;
            out.push(parts.iter().map(|part| part[at]).sum());
        }
    }
    out
}

/// Gradient of the weights; `d_out` are rows x hidden units.
pub fn backward(
    offsets: &[f32],
    batch_of_row: &[usize],
    wiring: &Wiring,
    d_out: &[f32],
) -> Vec<f32> {
    let n_rows = batch_of_row.len();
    let rows_of_masks = rows_of_masks(wiring, batch_of_row);
    let mut d_units = vec![0.0; d_out.len()];
    for (row, d_out) in d_out.chunks_exact(wiring.n_hidden).enumerate() {
        for (unit, &d) in d_out.iter().enumerate() {
            d_units[unit * n_rows + row] = d;
        }
    }
    of_slots(wiring, |genes, d_weights| {
        let first = wiring.offsets[genes.start] as usize;
        let mut of_gene = vec![0.0; n_rows];
        for gene in genes {
            take_gene(offsets, wiring, gene, &mut of_gene);
            for (mask, rows) in &rows_of_masks {
                let (units, slots) = wiring.masks[*mask].gene(gene);
                for (&unit, &slot) in units.iter().zip(slots) {
                    let d = &d_units[usize::from(unit) * n_rows..][rows.clone()];
                    let products = d.iter().zip(&of_gene[rows.clone()]);
                    let sum: f32 = products.map(|(&d, &x)| d * x).sum();
                    d_weights[slot as usize - first] += sum;
                }
            }
        }
    })
}

/// A gene's offset in each row.
fn take_gene(offsets: &[f32], wiring: &Wiring, gene: usize, of_gene: &mut [f32]) {
    let rows = offsets.chunks_exact(wiring.n_genes());
    for (value, row) in of_gene.iter_mut().zip(rows) {
        *value = row[gene];
    }
}

/// Rows side by side that use the same mask.
fn rows_of_masks(wiring: &Wiring, batch_of_row: &[usize]) -> Vec<(usize, Range<usize>)> {
    let mut start = 0;
    batch_of_row
        .chunk_by(|&a, &b| wiring.mask_index(a) == wiring.mask_index(b))
        .map(|same| {
            let rows = start..start + same.len();
            start = rows.end;
            (wiring.mask_index(same[0]), rows)
        })
        .collect()
}
