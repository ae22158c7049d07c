//! The encoder's sparsely connected layer on sparse input: genes -> hidden units.
//!
//! Gene by gene, and some hidden units at a time: what a gene's cells add up, or are added up to, then stays in
//! registers and in the first-level cache.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::blocks::{gene_blocks, of_slots};
use super::instructions::Instructions;
use super::special;
use super::types::{GeneMajorCounts, Segment, Wiring};

/// Hidden units worked on at a time.
const UNITS: usize = 64;

/// One value for each of [`UNITS`] hidden units, on a cache line's boundary.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Units([f32; UNITS]);

const ZERO: Units = Units([0.0; UNITS]);

/// The encoder's input: `ln(1 + count)`, each cell's counts first multiplied with its factor of `depth`, if given.
pub fn log1p(counts: &GeneMajorCounts, depth: Option<&[f32]>, out: &mut [f32]) {
    match depth {
        None => out.copy_from_slice(&counts.counts),
        Some(depth) => {
            let entries = counts.counts.iter().zip(&counts.cells);
            for (out, (&count, &cell)) in out.iter_mut().zip(entries) {
                *out = count * depth[cell as usize];
            }
        }
    }
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for x in out {
                *x = special::ln_1p(f64::from(*x)) as f32;
            }
        },
    );
}

/// `bias + input (M * W)`, one row of `n_hidden` values per cell.
///
/// `input` are the encoder's values in the order of `counts`; `segments` say whose mask a row uses.
pub fn forward(
    instructions: impl Instructions,
    counts: &GeneMajorCounts,
    input: &[f32],
    segments: &[Segment],
    wiring: &Wiring,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let (n_cells, n_hidden) = (counts.n_cells, wiring.n_hidden);
    let mask_of_row = masks_of_rows(n_cells, segments, wiring);
    let parts: Vec<Vec<Units>> = gene_blocks(wiring.n_genes())
        .into_par_iter()
        .map(|genes| {
            let mut out = vec![ZERO; n_hidden.div_ceil(UNITS) * n_cells];
            instructions.run(Forward {
                counts,
                input,
                mask_of_row: &mask_of_row,
                wiring,
                weights,
                genes,
                out: &mut out,
            });
            out
        })
        .collect();
    let mut out = Vec::with_capacity(n_cells * n_hidden);
    for cell in 0..n_cells {
        for (unit, &bias) in bias.iter().enumerate() {
            let at = unit / UNITS * n_cells + cell;
            let sum: f32 = parts.iter().map(|part| part[at].0[unit % UNITS]).sum();
            out.push(bias + sum);
        }
    }
    out
}

struct Forward<'a> {
    counts: &'a GeneMajorCounts,
    input: &'a [f32],
    mask_of_row: &'a [usize],
    wiring: &'a Wiring,
    weights: &'a [f32],
    genes: Range<usize>,
    /// Groups of units x cells.
    out: &'a mut [Units],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n_cells = self.counts.n_cells;
        let mut dense = vec![ZERO; self.wiring.n_hidden.div_ceil(UNITS)];
        for gene in self.genes {
            let (mut cells, mut values) = inputs_of(self.counts, self.input, gene);
            while let Some((mask, run)) = run_of_mask(cells, self.mask_of_row) {
                // One gene's weights are laid out once for all cells that have the gene.
                dense.fill(ZERO);
                let (units, slots) = self.wiring.mask(mask).gene(gene);
                for (&unit, &slot) in units.iter().zip(slots) {
                    let unit = usize::from(unit);
                    dense[unit / UNITS].0[unit % UNITS] = self.weights[slot as usize];
                }
                let groups = dense.iter().zip(self.out.chunks_exact_mut(n_cells));
                for (dense, out) in groups {
                    let (dense, _) = S::as_simd_f32s(&dense.0);
                    for (&cell, &x) in cells[..run].iter().zip(values) {
                        let x = simd.splat_f32s(x);
                        let (sums, _) = S::as_mut_simd_f32s(&mut out[cell as usize].0);
                        for (sum, &w) in sums.iter_mut().zip(dense) {
                            *sum = simd.mul_add_e_f32s(x, w, *sum);
                        }
                    }
                }
                (cells, values) = (&cells[run..], &values[run..]);
            }
        }
    }
}

/// Gradient of the weights: for each slot, the sum over cells of input times the gradient at its hidden unit.
///
/// `input` are the encoder's values in the order of `counts`; `d_out` has one row of `n_hidden` values per cell.
pub fn backward(
    instructions: impl Instructions,
    counts: &GeneMajorCounts,
    input: &[f32],
    segments: &[Segment],
    wiring: &Wiring,
    d_out: &[f32],
) -> Vec<f32> {
    let (n_cells, n_hidden) = (counts.n_cells, wiring.n_hidden);
    let mask_of_row = masks_of_rows(n_cells, segments, wiring);
    let mut d_units = vec![ZERO; n_hidden.div_ceil(UNITS) * n_cells];
    for (cell, d_out) in d_out.chunks_exact(n_hidden).enumerate() {
        for (group, d_out) in d_out.chunks(UNITS).enumerate() {
            d_units[group * n_cells + cell].0[..d_out.len()].copy_from_slice(d_out);
        }
    }
    of_slots(wiring, |genes, d_weights| {
        instructions.run(Backward {
            counts,
            input,
            mask_of_row: &mask_of_row,
            wiring,
            d_units: &d_units,
            genes,
            d_weights,
        });
    })
}

struct Backward<'a> {
    counts: &'a GeneMajorCounts,
    input: &'a [f32],
    mask_of_row: &'a [usize],
    wiring: &'a Wiring,
    /// Groups of units x cells.
    d_units: &'a [Units],
    genes: Range<usize>,
    d_weights: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n_cells = self.counts.n_cells;
        let first = self.wiring.offsets[self.genes.start] as usize;
        let mut sums = vec![ZERO; self.wiring.n_hidden.div_ceil(UNITS)];
        for gene in self.genes.clone() {
            let (mut cells, mut values) = inputs_of(self.counts, self.input, gene);
            while let Some((mask, run)) = run_of_mask(cells, self.mask_of_row) {
                let groups = sums.iter_mut().zip(self.d_units.chunks_exact(n_cells));
                for (sums, d_units) in groups {
                    *sums = ZERO;
                    let (sums, _) = S::as_mut_simd_f32s(&mut sums.0);
                    for (&cell, &x) in cells[..run].iter().zip(values) {
                        let x = simd.splat_f32s(x);
                        let (d, _) = S::as_simd_f32s(&d_units[cell as usize].0);
                        for (sum, &d) in sums.iter_mut().zip(d) {
                            *sum = simd.mul_add_e_f32s(x, d, *sum);
                        }
                    }
                }
                let (units, slots) = self.wiring.mask(mask).gene(gene);
                for (&unit, &slot) in units.iter().zip(slots) {
                    let unit = usize::from(unit);
                    self.d_weights[slot as usize - first] += sums[unit / UNITS].0[unit % UNITS];
                }
                (cells, values) = (&cells[run..], &values[run..]);
            }
        }
    }
}

/// Cells and input values of a gene.
#[inline(always)]
fn inputs_of<'a>(
    counts: &'a GeneMajorCounts,
    input: &'a [f32],
    gene: usize,
) -> (&'a [u32], &'a [f32]) {
    let span = counts.offsets[gene] as usize..counts.offsets[gene + 1] as usize;
    (&counts.cells[span.clone()], &input[span])
}

/// The mask of the first cells, which come grouped by batch, and how many of them share it.
#[inline(always)]
fn run_of_mask(cells: &[u32], mask_of_row: &[usize]) -> Option<(usize, usize)> {
    let (first, last) = (*cells.first()?, *cells.last()?);
    let mask = mask_of_row[first as usize];
    if mask_of_row[last as usize] == mask {
        return Some((mask, cells.len()));
    }
    let same = cells
        .iter()
        .take_while(|&&c| mask_of_row[c as usize] == mask);
    Some((mask, same.count()))
}

/// The mask of each row; batches that share one mask count as one.
fn masks_of_rows(n_rows: usize, segments: &[Segment], wiring: &Wiring) -> Vec<usize> {
    let mut masks = vec![0; n_rows];
    for segment in segments {
        masks[segment.rows.clone()].fill(wiring.mask_index(segment.batch));
    }
    masks
}
