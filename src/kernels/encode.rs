//! The encoder's sparsely connected layer on sparse input: genes -> hidden units.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::blocks::{cut, gene_blocks};
use super::types::{GeneMajorCounts, SparseRows, Wiring};

/// `bias + input (M * W)`, one row of `n_hidden` values per cell.
///
/// `segments` are the rows of each batch, which say whose mask a row uses.
pub(super) fn forward(
    input: &SparseRows,
    segments: &[Range<usize>],
    wiring: &Wiring,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let n_hidden = wiring.n_hidden;
    let mask_of_row = masks_of_rows(input.n_rows(), segments);
    let mut out = vec![0.0; input.n_rows() * n_hidden];
    out.par_chunks_mut(n_hidden)
        .enumerate()
        .for_each(|(row, out)| {
            out.copy_from_slice(bias);
            let mask = wiring.mask(mask_of_row[row]);
            let (genes, values) = input.row(row);
            for (&gene, &x) in genes.iter().zip(values) {
                let (hidden, slots) = mask.gene(gene as usize);
                for (&h, &s) in hidden.iter().zip(slots) {
                    out[h as usize] += x * weights[s as usize];
                }
            }
        });
    out
}

/// Gradient of the weights: for each slot, the sum over cells of input times the gradient at its hidden unit.
///
/// `input` are the encoder's values in the order of `counts`; `d_out` has one row of `n_hidden` values per cell.
pub(super) fn backward(
    counts: &GeneMajorCounts,
    input: &[f32],
    segments: &[Range<usize>],
    wiring: &Wiring,
    d_out: &[f32],
) -> Vec<f32> {
    let mask_of_row = masks_of_rows(counts.n_cells, segments);
    let mut d_weights = vec![0.0; wiring.n_slots()];
    let blocks = gene_blocks(wiring.n_genes());
    let slots_of = |r: &Range<usize>| (wiring.offsets[r.end] - wiring.offsets[r.start]) as usize;
    let parts = cut(&mut d_weights, blocks.iter().map(slots_of));
    blocks.into_par_iter().zip(parts).for_each(|(genes, part)| {
        encode_backward_block(counts, input, &mask_of_row, wiring, d_out, genes, part)
    });
    d_weights
}

#[multiversion(targets = "simd")]
fn encode_backward_block(
    counts: &GeneMajorCounts,
    input: &[f32],
    mask_of_row: &[usize],
    wiring: &Wiring,
    d_out: &[f32],
    genes: Range<usize>,
    d_weights: &mut [f32],
) {
    let n_hidden = wiring.n_hidden;
    let first = wiring.offsets[genes.start] as usize;
    let mut row_sum = vec![0.0f32; n_hidden];
    for gene in genes {
        let span = counts.offsets[gene] as usize..counts.offsets[gene + 1] as usize;
        let (cells, values) = (&counts.cells[span.clone()], &input[span]);
        let mut from = 0;
        // Cells come grouped by batch: one sweep per run of cells that share a mask.
        while from < cells.len() {
            let mask_id = mask_of_row[cells[from] as usize];
            let run = cells[from..]
                .iter()
                .take_while(|&&c| mask_of_row[c as usize] == mask_id)
                .count();
            row_sum.fill(0.0);
            for (&cell, &x) in cells[from..from + run].iter().zip(&values[from..]) {
                let at = cell as usize * n_hidden;
                for (sum, &d) in row_sum.iter_mut().zip(&d_out[at..at + n_hidden]) {
                    *sum += x * d;
                }
            }
            let (hidden, slots) = wiring.mask(mask_id).gene(gene);
            for (&h, &s) in hidden.iter().zip(slots) {
                d_weights[s as usize - first] += row_sum[h as usize];
            }
            from += run;
        }
    }
}

fn masks_of_rows(n_rows: usize, segments: &[Range<usize>]) -> Vec<usize> {
    let mut masks = vec![0; n_rows];
    for (batch, rows) in segments.iter().enumerate() {
        masks[rows.clone()].fill(batch);
    }
    masks
}
