//! The part of the encoder's sparsely connected layer that is the same for all cells of a batch: each batch's offset of
//! the genes, sent to the hidden units.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{gene_blocks, of_slots};
use super::types::Wiring;

/// `offsets (M * W)`, batches x hidden units; `offsets` has one value per gene and batch, a gene's values side by side.
pub(super) fn forward(offsets: &[f32], wiring: &Wiring, weights: &[f32]) -> Vec<f32> {
    let n_batches = offsets.len() / wiring.n_genes();
    let parts: Vec<Vec<f32>> = gene_blocks(wiring.n_genes())
        .into_par_iter()
        .map(|genes| {
            // Hidden units x batches, so that the inner loop runs over neighbours.
            let mut sums = vec![0.0; wiring.n_hidden * n_batches];
            for gene in genes {
                let of_gene = &offsets[gene * n_batches..(gene + 1) * n_batches];
                for (mask, batches) in batches_of_masks(wiring, n_batches) {
                    let (units, slots) = wiring.masks[mask].gene(gene);
                    for (&unit, &slot) in units.iter().zip(slots) {
                        let w = weights[slot as usize];
                        let sums = &mut sums[usize::from(unit) * n_batches..][batches.clone()];
                        for (sum, &x) in sums.iter_mut().zip(&of_gene[batches.clone()]) {
                            *sum += w * x;
                        }
                    }
                }
            }
            sums
        })
        .collect();
    let mut out = Vec::with_capacity(n_batches * wiring.n_hidden);
    for batch in 0..n_batches {
        for unit in 0..wiring.n_hidden {
            let at = unit * n_batches + batch;
            out.push(parts.iter().map(|part| part[at]).sum());
        }
    }
    out
}

/// Gradient of the weights; `d_out` are batches x hidden units.
pub(super) fn backward(offsets: &[f32], wiring: &Wiring, d_out: &[f32]) -> Vec<f32> {
    let n_batches = offsets.len() / wiring.n_genes();
    let mut d_units = vec![0.0; d_out.len()];
    for (batch, d_out) in d_out.chunks_exact(wiring.n_hidden).enumerate() {
        for (unit, &d) in d_out.iter().enumerate() {
            d_units[unit * n_batches + batch] = d;
        }
    }
    of_slots(wiring, |genes, d_weights| {
        let first = wiring.offsets[genes.start] as usize;
        for gene in genes {
            let of_gene = &offsets[gene * n_batches..(gene + 1) * n_batches];
            for (mask, batches) in batches_of_masks(wiring, n_batches) {
                let (units, slots) = wiring.masks[mask].gene(gene);
                for (&unit, &slot) in units.iter().zip(slots) {
                    let d = &d_units[usize::from(unit) * n_batches..][batches.clone()];
                    let products = d.iter().zip(&of_gene[batches.clone()]);
                    let sum: f32 = products.map(|(&d, &x)| d * x).sum();
                    d_weights[slot as usize - first] += sum;
                }
            }
        }
    })
}

/// The batches that use each mask.
fn batches_of_masks(
    wiring: &Wiring,
    n_batches: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let shared = wiring.masks.len() == 1;
    (0..wiring.masks.len()).map(move |mask| {
        let batches = if shared { 0..n_batches } else { mask..mask + 1 };
        (mask, batches)
    })
}
