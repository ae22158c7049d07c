//! The encoder's sparsely connected layer on sparse input: genes -> hidden units.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::blocks::{cut, gene_blocks};
use super::special;
use super::types::{GeneMajorCounts, Wiring};

/// The encoder's input: `ln(1 + factor * count)` of each count.
pub fn log1p(counts: &[f32], factor: f32, out: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (out, &count) in out.iter_mut().zip(counts) {
                *out = special::ln_1p(f64::from(count * factor)) as f32;
            }
        },
    );
}

/// `bias + input (M * W)`, one row of `n_hidden` values per cell.
///
/// `input` are the encoder's values in the order of `counts`; `segments` are the rows of each batch, which say whose
/// mask a row uses.
pub(super) fn forward(
    counts: &GeneMajorCounts,
    input: &[f32],
    segments: &[Range<usize>],
    wiring: &Wiring,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let mask_of_row = masks_of_rows(counts.n_cells, segments, wiring);
    let parts: Vec<Vec<f32>> = gene_blocks(wiring.n_genes())
        .into_par_iter()
        .map(|genes| {
            let mut part = vec![0.0; counts.n_cells * wiring.n_hidden];
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    forward_block(
                        counts,
                        input,
                        &mask_of_row,
                        wiring,
                        weights,
                        genes,
                        &mut part,
                    )
                },
            );
            part
        })
        .collect();
    let mut out = bias.repeat(counts.n_cells);
    for part in &parts {
        for (sum, &p) in out.iter_mut().zip(part) {
            *sum += p;
        }
    }
    out
}

#[inline(always)]
fn forward_block(
    counts: &GeneMajorCounts,
    input: &[f32],
    mask_of_row: &[usize],
    wiring: &Wiring,
    weights: &[f32],
    genes: Range<usize>,
    out: &mut [f32],
) {
    let n_hidden = wiring.n_hidden;
    let mut dense = vec![0.0f32; n_hidden];
    for gene in genes {
        let span = counts.offsets[gene] as usize..counts.offsets[gene + 1] as usize;
        let (mut cells, mut values) = (&counts.cells[span.clone()], &input[span]);
        while let Some((mask, run)) = run_of_mask(cells, mask_of_row) {
            // One gene's weights are laid out once for all cells that have the gene.
            dense.fill(0.0);
            let (units, slots) = wiring.mask(mask).gene(gene);
            for (&unit, &slot) in units.iter().zip(slots) {
                dense[usize::from(unit)] = weights[slot as usize];
            }
            for (&cell, &x) in cells[..run].iter().zip(values) {
                let at = cell as usize * n_hidden;
                for (sum, &w) in out[at..at + n_hidden].iter_mut().zip(&dense) {
                    *sum += x * w;
                }
            }
            (cells, values) = (&cells[run..], &values[run..]);
        }
    }
}

/// The mask of the first cells, which come grouped by batch, and how many of them share it.
#[inline(always)]
fn run_of_mask(cells: &[u32], mask_of_row: &[usize]) -> Option<(usize, usize)> {
    let mask = mask_of_row[*cells.first()? as usize];
    let same = cells
        .iter()
        .take_while(|&&c| mask_of_row[c as usize] == mask);
    Some((mask, same.count()))
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
    let mask_of_row = masks_of_rows(counts.n_cells, segments, wiring);
    let mut d_weights = vec![0.0; wiring.n_slots()];
    let blocks = gene_blocks(wiring.n_genes());
    let slots_of = |r: &Range<usize>| (wiring.offsets[r.end] - wiring.offsets[r.start]) as usize;
    let parts = cut(&mut d_weights, blocks.iter().map(slots_of));
    blocks.into_par_iter().zip(parts).for_each(|(genes, part)| {
        Arch::new().dispatch(
            #[inline(always)]
            || backward_block(counts, input, &mask_of_row, wiring, d_out, genes, part),
        );
    });
    d_weights
}

#[inline(always)]
fn backward_block(
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
        let (mut cells, mut values) = (&counts.cells[span.clone()], &input[span]);
        while let Some((mask, run)) = run_of_mask(cells, mask_of_row) {
            row_sum.fill(0.0);
            for (&cell, &x) in cells[..run].iter().zip(values) {
                let at = cell as usize * n_hidden;
                for (sum, &d) in row_sum.iter_mut().zip(&d_out[at..at + n_hidden]) {
                    *sum += x * d;
                }
            }
            let (units, slots) = wiring.mask(mask).gene(gene);
            for (&unit, &slot) in units.iter().zip(slots) {
                d_weights[slot as usize - first] += row_sum[usize::from(unit)];
            }
            (cells, values) = (&cells[run..], &values[run..]);
        }
    }
}

/// The mask of each row; batches that share one mask count as one.
fn masks_of_rows(n_rows: usize, segments: &[Range<usize>], wiring: &Wiring) -> Vec<usize> {
    let mut masks = vec![0; n_rows];
    for (batch, rows) in segments.iter().enumerate() {
        masks[rows.clone()].fill(batch.min(wiring.masks.len() - 1));
    }
    masks
}
