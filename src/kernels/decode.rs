//! The decoder's sparsely connected layer: hidden units -> genes. Activations are "hidden x cells" and
//! "genes x cells", cells contiguous, so that a connection costs one vectorised sweep over the cells.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::blocks::{cut, gene_blocks};
use super::types::Wiring;

/// Cells handled at a time: their sums stay in registers.
const LANES: usize = 32;

/// `bias + (M * W) hidden`, genes x cells, of `hidden`: hidden units x cells.
pub(super) fn forward(
    hidden: &[f32],
    n_cells: usize,
    segments: &[Range<usize>],
    wiring: &Wiring,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let mut out = vec![0.0; wiring.n_genes() * n_cells];
    let blocks = gene_blocks(wiring.n_genes());
    let parts = cut(&mut out, blocks.iter().map(|r| r.len() * n_cells));
    blocks.into_par_iter().zip(parts).for_each(|(genes, part)| {
        decode_forward_block(
            hidden, n_cells, segments, wiring, weights, bias, genes, part,
        )
    });
    out
}

/// Gradients of the decoder's layer.
pub struct DecodeGradients<Buffer> {
    /// Hidden units x cells.
    pub hidden: Buffer,
    /// One per slot of the wiring.
    pub weights: Buffer,
    /// One per gene.
    pub bias: Buffer,
}

/// Gradients of the decoder's layer with respect to its input, weights and bias.
pub(super) fn backward(
    hidden: &[f32],
    n_cells: usize,
    segments: &[Range<usize>],
    wiring: &Wiring,
    weights: &[f32],
    d_out: &[f32],
) -> DecodeGradients<Vec<f32>> {
    let mut d_weights = vec![0.0; wiring.n_slots()];
    let mut d_bias = vec![0.0; wiring.n_genes()];
    let blocks = gene_blocks(wiring.n_genes());
    let slots_of = |r: &Range<usize>| (wiring.offsets[r.end] - wiring.offsets[r.start]) as usize;
    let weight_parts = cut(&mut d_weights, blocks.iter().map(slots_of));
    let bias_parts = cut(&mut d_bias, blocks.iter().map(|r| r.len()));
    let partial: Vec<Vec<f32>> = blocks
        .into_par_iter()
        .zip(weight_parts)
        .zip(bias_parts)
        .map(|((genes, d_weights), d_bias)| {
            let mut d_hidden = vec![0.0; hidden.len()];
            decode_backward_block(
                hidden,
                n_cells,
                segments,
                wiring,
                weights,
                d_out,
                genes,
                &mut d_hidden,
                d_weights,
                d_bias,
            );
            d_hidden
        })
        .collect();
    let mut d_hidden = vec![0.0; hidden.len()];
    for part in &partial {
        for (sum, &p) in d_hidden.iter_mut().zip(part) {
            *sum += p;
        }
    }
    DecodeGradients {
        hidden: d_hidden,
        weights: d_weights,
        bias: d_bias,
    }
}

#[multiversion(targets = "simd")]
#[allow(clippy::too_many_arguments)]
fn decode_forward_block(
    hidden: &[f32],
    n_cells: usize,
    segments: &[Range<usize>],
    wiring: &Wiring,
    weights: &[f32],
    bias: &[f32],
    genes: Range<usize>,
    out: &mut [f32],
) {
    for (gene, out) in genes.zip(out.chunks_exact_mut(n_cells)) {
        for (batch, cells) in segments.iter().enumerate() {
            let (units, slots) = wiring.mask(batch).gene(gene);
            let mut at = cells.start;
            while at + LANES <= cells.end {
                let mut sum = [bias[gene]; LANES];
                for (&h, &s) in units.iter().zip(slots) {
                    let w = weights[s as usize];
                    let from = h as usize * n_cells + at;
                    for (sum, &x) in sum.iter_mut().zip(&hidden[from..from + LANES]) {
                        *sum += w * x;
                    }
                }
                out[at..at + LANES].copy_from_slice(&sum);
                at += LANES;
            }
            let rest = &mut out[at..cells.end];
            rest.fill(bias[gene]);
            for (&h, &s) in units.iter().zip(slots) {
                let w = weights[s as usize];
                let from = h as usize * n_cells + at;
                for (sum, &x) in rest.iter_mut().zip(&hidden[from..]) {
                    *sum += w * x;
                }
            }
        }
    }
}

#[multiversion(targets = "simd")]
#[allow(clippy::too_many_arguments)]
fn decode_backward_block(
    hidden: &[f32],
    n_cells: usize,
    segments: &[Range<usize>],
    wiring: &Wiring,
    weights: &[f32],
    d_out: &[f32],
    genes: Range<usize>,
    d_hidden: &mut [f32],
    d_weights: &mut [f32],
    d_bias: &mut [f32],
) {
    let first_slot = wiring.offsets[genes.start] as usize;
    for (gene, d_bias) in genes.zip(d_bias) {
        let d_gene = &d_out[gene * n_cells..(gene + 1) * n_cells];
        *d_bias = sum(d_gene);
        for (batch, cells) in segments.iter().enumerate() {
            let d_cells = &d_gene[cells.clone()];
            let (units, slots) = wiring.mask(batch).gene(gene);
            for (&h, &s) in units.iter().zip(slots) {
                let from = h as usize * n_cells + cells.start;
                let span = from..from + cells.len();
                d_weights[s as usize - first_slot] += dot(&hidden[span.clone()], d_cells);
                let w = weights[s as usize];
                for (sum, &d) in d_hidden[span].iter_mut().zip(d_cells) {
                    *sum += w * d;
                }
            }
        }
    }
}

/// Partial sums side by side: the order of additions is fixed, and the compiler may still use vectors.
const SUMS: usize = 16;

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; SUMS];
    let (a_chunks, b_chunks) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn sum(a: &[f32]) -> f32 {
    let mut sums = [0.0f32; SUMS];
    let chunks = a.chunks_exact(SUMS);
    let rest: f32 = chunks.remainder().iter().sum();
    for a in chunks {
        for (sum, &a) in sums.iter_mut().zip(a) {
            *sum += a;
        }
    }
    sums.iter().sum::<f32>() + rest
}
