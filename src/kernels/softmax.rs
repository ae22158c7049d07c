//! The softmax over genes: genes' shares of each cell's counts.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::instructions::Instructions;
use super::math;
use super::special;
use crate::{Error, Result};

/// So many genes' exponentials are added in single precision before their sum goes to double.
const SINGLE_PRECISION_ROWS: usize = 16;
/// Entries of one block: its logits (128 KiB) are read twice and should still be in the second-level cache.
const BLOCK_ENTRIES: usize = 32_768;

/// Softmax over genes of logits stored genes x cells: the genes' shares, each cell's adding up to one.
///
/// # Errors
/// [`Error::Argument`] if the length is not a multiple of a positive `n_cells`.
pub fn softmax_over_genes(scale: &[f32], n_cells: usize) -> Result<Vec<f32>> {
    softmax_with(Arch::new(), scale, n_cells)
}

/// `ln(1 + factor * share) - center` of the same shares; `center` has one value per gene. The error of the logarithm's
/// argument is that of the share, its own below 4e-7 of the result before `center` is subtracted.
///
/// # Errors
/// [`Error::Argument`] without cells or genes, or when `center` does not fit.
pub fn log_softmax_over_genes(
    scale: &[f32],
    n_cells: usize,
    factor: f32,
    center: &[f32],
) -> Result<Vec<f32>> {
    log_softmax_with(Arch::new(), scale, n_cells, factor, center)
}

pub(super) fn softmax_with(
    instructions: impl Instructions,
    scale: &[f32],
    n_cells: usize,
) -> Result<Vec<f32>> {
    over_genes(
        instructions,
        scale,
        n_cells,
        |_, scale, negative_log_sum, out| {
            instructions.run(Shares {
                scale,
                negative_log_sum,
                out,
            });
        },
    )
}

pub(super) fn log_softmax_with(
    instructions: impl Instructions,
    scale: &[f32],
    n_cells: usize,
    factor: f32,
    center: &[f32],
) -> Result<Vec<f32>> {
    if center.len() * n_cells != scale.len() {
        return Err(Error::Argument(format!(
            "{} centers do not fit {} logits of {n_cells} cells",
            center.len(),
            scale.len()
        )));
    }
    over_genes(
        instructions,
        scale,
        n_cells,
        |first_gene, scale, negative_log_sum, out| {
            instructions.run(LogShares {
                scale,
                negative_log_sum,
                factor,
                center: &center[first_gene..],
                out,
            });
        },
    )
}

/// `finish` is given blocks of genes: the first gene's number, the logits, minus `ln sum_g exp(logit)` of the cells, and
/// where to write.
fn over_genes(
    instructions: impl Instructions,
    scale: &[f32],
    n_cells: usize,
    finish: impl Fn(usize, &[f32], &[f32], &mut [f32]) + Sync,
) -> Result<Vec<f32>> {
    if n_cells == 0 || scale.is_empty() || !scale.len().is_multiple_of(n_cells) {
        return Err(Error::Argument(format!(
            "{} logits cannot be laid out for {n_cells} cells",
            scale.len()
        )));
    }
    // The blocks depend on the shape alone, never on the number of threads.
    let genes = (BLOCK_ENTRIES / n_cells).max(1);
    let block = genes * n_cells;
    let parts: Vec<(Vec<f32>, Vec<f64>)> = scale
        .par_chunks(block)
        .map(|block| {
            let mut highest = vec![f32::NEG_INFINITY; n_cells];
            let mut sum = vec![0.0; n_cells];
            instructions.run(SumExp {
                block,
                highest: &mut highest,
                sum: &mut sum,
            });
            (highest, sum)
        })
        .collect();
    let parts = parts.iter().map(|(highest, sum)| (&highest[..], &sum[..]));
    let log_sum = log_sum_exp_of_parts(parts, n_cells);
    let negative_log_sum: Vec<f32> = log_sum.iter().map(|&l| -l as f32).collect();
    let mut out = vec![0.0; scale.len()];
    out.par_chunks_mut(block)
        .zip(scale.par_chunks(block))
        .enumerate()
        .for_each(|(i, (out, scale))| finish(i * genes, scale, &negative_log_sum, out));
    Ok(out)
}

/// `ln sum_g exp(logit)` of each cell, from the parts that [`block_sum_exp`] leaves for blocks of genes.
pub(super) fn log_sum_exp_of_parts<'a>(
    parts: impl Iterator<Item = (&'a [f32], &'a [f64])> + Clone,
    n_cells: usize,
) -> Vec<f64> {
    (0..n_cells)
        .map(|c| {
            let highest = parts
                .clone()
                .fold(f32::NEG_INFINITY, |m, (highest, _)| m.max(highest[c]));
            let highest = f64::from(highest);
            let sum: f64 = parts
                .clone()
                .map(|(h, sum)| sum[c] * special::exp(f64::from(h[c]) - highest))
                .sum();
            highest + special::ln(sum)
        })
        .collect()
}

/// Per cell the highest logit of a block of genes, and the sum of `exp(logit - highest)`, added to what is there.
#[inline(always)]
pub(super) fn block_sum_exp<'a, S: Simd>(
    simd: S,
    rows: impl Iterator<Item = &'a [f32]> + Clone,
    highest: &mut [f32],
    sum: &mut [f64],
) {
    for row in rows.clone() {
        for (h, &x) in std::iter::zip(&mut *highest, row) {
            *h = if x > *h { x } else { *h };
        }
    }
    let mut partial = vec![0.0f32; highest.len()];
    let mut waiting = 0;
    let mut flush = |partial: &mut [f32]| {
        for (s, p) in std::iter::zip(&mut *sum, partial) {
            *s += f64::from(*p);
            *p = 0.0;
        }
    };
    for row in rows {
        for ((p, &h), &x) in std::iter::zip(std::iter::zip(&mut partial, &*highest), row) {
            *p += math::exp_neg_abs(simd, x - h);
        }
        waiting += 1;
        if waiting == SINGLE_PRECISION_ROWS {
            flush(&mut partial);
            waiting = 0;
        }
    }
    flush(&mut partial);
}

struct SumExp<'a> {
    block: &'a [f32],
    highest: &'a mut [f32],
    sum: &'a mut [f64],
}

impl WithSimd for SumExp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.block.chunks_exact(self.highest.len());
        block_sum_exp(simd, rows, self.highest, self.sum);
    }
}

/// `exp(logit - log_sum)` for a block of genes.
struct Shares<'a> {
    scale: &'a [f32],
    negative_log_sum: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Shares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.negative_log_sum.len();
        let rows = std::iter::zip(self.out.chunks_exact_mut(n), self.scale.chunks_exact(n));
        for (out, row) in rows {
            let cells = std::iter::zip(row, self.negative_log_sum);
            for (o, (&x, &l)) in std::iter::zip(out, cells) {
                *o = math::exp_neg_abs(simd, x + l);
            }
        }
    }
}

/// `ln(1 + factor * exp(logit - log_sum)) - center` for a block of genes.
struct LogShares<'a> {
    scale: &'a [f32],
    negative_log_sum: &'a [f32],
    factor: f32,
    /// Of these genes, and maybe of more after them.
    center: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for LogShares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.negative_log_sum.len();
        let rows = std::iter::zip(self.out.chunks_exact_mut(n), self.scale.chunks_exact(n));
        for ((out, row), &center) in std::iter::zip(rows, self.center) {
            let cells = std::iter::zip(row, self.negative_log_sum);
            for (o, (&x, &l)) in std::iter::zip(out, cells) {
                let share = math::exp_neg_abs(simd, x + l);
                *o = math::ln_1p(simd, self.factor * share) - center;
            }
        }
    }
}
