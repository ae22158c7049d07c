//! The reconstruction loss of a mini-batch and its gradients in one fused pass.
//!
//! Nearly every entry is zero, so each row of a gene is first treated as if it held zeros only, in vector
//! instructions and single precision; its positive counts then replace what was put there, one by one in double
//! precision. Genes are cut into blocks whose size depends on the shape alone, and sums over blocks are formed in
//! block order in double precision: the result has the same bits for any number of threads and on any processor.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::closed_form::{inflate, positive};
use super::math;
use super::special;
use super::zero_tile::{
    sum, whole, zeros, zeros_inflated, zeros_inflated_value, zeros_value, Gene, Tile, TILE,
};
use super::GeneMajorCounts;
use crate::{Error, Result};

/// Entries of one block: its logits (128 KiB) are read twice and should still be in the second-level cache.
const BLOCK_ENTRIES: usize = 32_768;
/// So many genes' exponentials are added in single precision before their sum goes to double.
const SINGLE_PRECISION_ROWS: usize = 16;
/// Dispersions beyond `exp(60)` either way are taken as if there, so that no product leaves the range of numbers.
const LOG_THETA_LIMIT: f64 = 60.0;

/// What the loss is computed from. Dense arrays are genes x cells, the cells of a gene side by side.
#[derive(Debug, Clone, Copy)]
pub struct CountLossInput<'a> {
    /// Logits of the genes' shares (`px_scale` is their softmax over genes), genes x cells.
    pub scale: &'a [f32],
    /// Logits of the extra zeros, genes x cells; `None` for the negative binomial.
    pub dropout: Option<&'a [f32]>,
    /// Logarithm of the inverse dispersion, one per gene.
    pub log_theta: &'a [f32],
    /// Logarithm of the cells' total counts.
    pub log_library: &'a [f32],
    /// The counts to explain.
    pub counts: &'a GeneMajorCounts,
    /// Runs of cells (one per batch, possibly empty) over which squared errors are added up.
    pub segments: &'a [Range<usize>],
}

/// The loss and, if asked for, what belongs to it. Without gradients every vector is empty.
#[derive(Debug, Clone, Default)]
pub struct CountLossOutput {
    /// Negative log-likelihood, summed over genes, mean over cells (nats per cell).
    pub loss: f64,
    /// Gradient of the loss with respect to `scale`, genes x cells.
    pub d_scale: Vec<f32>,
    /// Gradient with respect to `dropout`, genes x cells; `None` for the negative binomial.
    pub d_dropout: Option<Vec<f32>>,
    /// Gradient with respect to `log_theta`, one per gene.
    pub d_log_theta: Vec<f32>,
    /// Per segment and gene, the sum over the segment's cells of `(x - E[x])^2`; the mean `E[x]` is
    /// `(1 - px_dropout) * library * px_scale`.
    pub squared_error: Vec<Vec<f32>>,
}

/// Computes the loss, and with `gradients` also its gradients and the squared errors.
///
/// Works on the rayon pool it is called in.
///
/// # Errors
/// [`Error::Argument`] if the arrays' lengths do not fit together, a segment leaves the mini-batch or there is no cell
/// or no gene.
pub fn count_loss(input: &CountLossInput, gradients: bool) -> Result<CountLossOutput> {
    let mut output = CountLossOutput::default();
    count_loss_into(input, gradients, &mut output)?;
    Ok(output)
}

/// [`count_loss`] into the vectors of an earlier output, which fresh memory for every mini-batch would cost a third
/// of the time.
///
/// # Errors
/// As [`count_loss`]; the output is then as before.
pub fn count_loss_into(
    input: &CountLossInput,
    gradients: bool,
    output: &mut CountLossOutput,
) -> Result<()> {
    check(input)?;
    let n_cells = input.log_library.len();
    let n_genes = input.log_theta.len();
    let n_segments = input.segments.len();
    let log_sum = log_sum_exp(input.scale, n_cells);
    let log_library: Vec<f64> = input.log_library.iter().map(|&l| f64::from(l)).collect();
    let shift: Vec<f64> = std::iter::zip(&log_library, &log_sum)
        .map(|(library, log_sum)| library - log_sum)
        .collect();
    let shift_single = single(&shift);
    let terms = Terms {
        input,
        shift: &shift,
        shift_single: &shift_single,
        per_cell: -1.0 / n_cells as f64,
        gradients,
    };

    let kept = |length: usize| if gradients { length } else { 0 };
    output.d_scale.resize(kept(input.scale.len()), 0.0);
    output.d_log_theta.resize(kept(n_genes), 0.0);
    output.d_dropout = (gradients && input.dropout.is_some()).then(|| {
        let mut d_dropout = output.d_dropout.take().unwrap_or_default();
        d_dropout.resize(input.scale.len(), 0.0);
        d_dropout
    });
    let mut squared_error = vec![0.0; kept(n_genes * n_segments)];

    let rows = rows_per_block(n_cells);
    let mut blocks = Vec::with_capacity(n_genes.div_ceil(rows));
    let mut rest = Gradients {
        d_scale: &mut output.d_scale,
        d_dropout: output.d_dropout.as_deref_mut().unwrap_or_default(),
        d_log_theta: &mut output.d_log_theta,
        squared_error: &mut squared_error,
    };
    for start in (0..n_genes).step_by(rows) {
        let genes = start..(start + rows).min(n_genes);
        blocks.push((genes.clone(), rest.split(genes.len(), n_cells, n_segments)));
    }
    let sums: Vec<BlockSums> = blocks
        .into_par_iter()
        .map(|(genes, out)| block_terms(&terms, genes, out))
        .collect();

    let mut total = BlockSums::new(kept(n_cells));
    for block in &sums {
        total.log_probability += block.log_probability;
        add(&mut total.d_log_mu, &block.d_log_mu);
    }
    if gradients {
        let negative_log_sum: Vec<f32> = log_sum.iter().map(|&l| -l as f32).collect();
        let d_log_mu = single(&total.d_log_mu);
        output
            .d_scale
            .par_chunks_mut(rows * n_cells)
            .zip(input.scale.par_chunks(rows * n_cells))
            .for_each(|(out, scale)| {
                block_softmax_backward(scale, &negative_log_sum, &d_log_mu, out);
            });
    }
    let by_segment = |s| {
        let of_gene = squared_error.chunks_exact(n_segments);
        of_gene.map(|row: &[f32]| row[s]).collect()
    };
    output.squared_error = (0..kept(n_segments)).map(by_segment).collect();
    output.loss = total.log_probability * terms.per_cell;
    Ok(())
}

/// Softmax over genes of logits stored genes x cells: the genes' shares, each cell's adding up to one.
///
/// # Errors
/// [`Error::Argument`] if the length is not a multiple of a positive `n_cells`.
pub fn softmax_over_genes(scale: &[f32], n_cells: usize) -> Result<Vec<f32>> {
    if n_cells == 0 || scale.is_empty() || !scale.len().is_multiple_of(n_cells) {
        return Err(Error::Argument(format!(
            "{} logits cannot be laid out for {n_cells} cells",
            scale.len()
        )));
    }
    let log_sum = log_sum_exp(scale, n_cells);
    let negative_log_sum: Vec<f32> = log_sum.iter().map(|&l| -l as f32).collect();
    let mut shares = vec![0.0; scale.len()];
    let block = rows_per_block(n_cells) * n_cells;
    shares
        .par_chunks_mut(block)
        .zip(scale.par_chunks(block))
        .for_each(|(out, scale)| block_softmax(scale, &negative_log_sum, out));
    Ok(shares)
}

/// Genes of one block; depends on the shape alone, never on the number of threads.
fn rows_per_block(n_cells: usize) -> usize {
    (BLOCK_ENTRIES / n_cells).max(1)
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

fn check(input: &CountLossInput) -> Result<()> {
    let n_cells = input.log_library.len();
    let n_genes = input.log_theta.len();
    let entries = n_cells * n_genes;
    let counts = input.counts;
    let fits = entries > 0
        && input.scale.len() == entries
        && input.dropout.is_none_or(|d| d.len() == entries)
        && counts.n_cells == n_cells
        && counts.n_genes() == n_genes
        && counts.counts.len() == counts.cells.len()
        && counts.offsets.last().map(|&o| o as usize) == Some(counts.cells.len())
        && counts.offsets.is_sorted()
        && counts.cells.iter().all(|&c| (c as usize) < n_cells)
        && input
            .segments
            .iter()
            .all(|s| s.start <= s.end && s.end <= n_cells);
    if fits {
        return Ok(());
    }
    Err(Error::Argument(format!(
        "the parts of a mini-batch of {n_cells} cells and {n_genes} genes do not fit together: {} share logits, {} \
         dropout logits, counts of {} cells and {} genes, segments {:?}",
        input.scale.len(),
        input.dropout.map_or(0, <[f32]>::len),
        counts.n_cells,
        counts.n_genes(),
        input.segments,
    )))
}

/// `ln sum_g exp(scale[g, c])` per cell.
fn log_sum_exp(scale: &[f32], n_cells: usize) -> Vec<f64> {
    let blocks: Vec<(Vec<f32>, Vec<f64>)> = scale
        .par_chunks(rows_per_block(n_cells) * n_cells)
        .map(|block| {
            let mut highest = vec![f32::NEG_INFINITY; n_cells];
            let mut sum = vec![0.0; n_cells];
            block_sum_exp(block, &mut highest, &mut sum);
            (highest, sum)
        })
        .collect();
    (0..n_cells)
        .map(|c| {
            let highest = blocks
                .iter()
                .fold(f32::NEG_INFINITY, |m, (highest, _)| m.max(highest[c]));
            let highest = f64::from(highest);
            let sum: f64 = blocks
                .iter()
                .map(|(h, sum)| sum[c] * special::exp(f64::from(h[c]) - highest))
                .sum();
            highest + special::ln(sum)
        })
        .collect()
}

/// Per cell the highest logit of a block, and the sum of `exp(logit - highest)`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn block_sum_exp(block: &[f32], highest: &mut [f32], sum: &mut [f64]) {
    for row in block.chunks_exact(highest.len()) {
        for (h, &x) in std::iter::zip(&mut *highest, row) {
            *h = if x > *h { x } else { *h };
        }
    }
    let mut partial = vec![0.0f32; highest.len()];
    for rows in block.chunks(SINGLE_PRECISION_ROWS * highest.len()) {
        partial.fill(0.0);
        for row in rows.chunks_exact(highest.len()) {
            for ((p, &h), &x) in std::iter::zip(std::iter::zip(&mut partial, &*highest), row) {
                *p += math::exp_neg_abs(x - h);
            }
        }
        for (s, &p) in std::iter::zip(&mut *sum, &partial) {
            *s += f64::from(p);
        }
    }
}

/// `exp(logit - log_sum)` for a block of genes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn block_softmax(scale: &[f32], negative_log_sum: &[f32], out: &mut [f32]) {
    let n = negative_log_sum.len();
    for (out, row) in std::iter::zip(out.chunks_exact_mut(n), scale.chunks_exact(n)) {
        for ((o, &x), &l) in std::iter::zip(std::iter::zip(out, row), negative_log_sum) {
            *o = math::exp_neg_abs(x + l);
        }
    }
}

/// From derivatives by the logarithm of the mean to derivatives by the logits: each entry loses its share of the
/// cell's total. The exponential is formed anew; keeping it would cost more memory traffic than it saves.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn block_softmax_backward(scale: &[f32], negative_log_sum: &[f32], total: &[f32], out: &mut [f32]) {
    let n = total.len();
    for (out, row) in std::iter::zip(out.chunks_exact_mut(n), scale.chunks_exact(n)) {
        let cells = std::iter::zip(negative_log_sum, total);
        for ((o, &x), (&l, &t)) in std::iter::zip(std::iter::zip(out, row), cells) {
            *o -= math::exp_neg_abs(x + l) * t;
        }
    }
}

/// What every block reads.
struct Terms<'a> {
    input: &'a CountLossInput<'a>,
    /// `log_library - log_sum_exp`, to be added to a logit for the logarithm of the mean.
    shift: &'a [f64],
    shift_single: &'a [f32],
    /// -1 / n_cells: from a log-probability to its part of the loss.
    per_cell: f64,
    gradients: bool,
}

/// The part of the outputs that a block fills; all empty when no gradients are wanted.
struct Gradients<'a> {
    d_scale: &'a mut [f32],
    d_dropout: &'a mut [f32],
    d_log_theta: &'a mut [f32],
    squared_error: &'a mut [f32],
}

impl<'a> Gradients<'a> {
    /// Splits off the part of the next `n_genes` genes.
    fn split(&mut self, n_genes: usize, n_cells: usize, n_segments: usize) -> Gradients<'a> {
        Gradients {
            d_scale: split_front(&mut self.d_scale, n_genes * n_cells),
            d_dropout: split_front(&mut self.d_dropout, n_genes * n_cells),
            d_log_theta: split_front(&mut self.d_log_theta, n_genes),
            squared_error: split_front(&mut self.squared_error, n_genes * n_segments),
        }
    }
}

fn split_front<'a>(slice: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let all = std::mem::take(slice);
    let (front, back) = all.split_at_mut(length.min(all.len()));
    *slice = back;
    front
}

/// What a block adds to the sums over genes.
struct BlockSums {
    log_probability: f64,
    /// Per cell, the sum over genes of the loss's derivative by the logarithm of the mean.
    d_log_mu: Vec<f64>,
}

impl BlockSums {
    fn new(n_cells: usize) -> Self {
        BlockSums {
            log_probability: 0.0,
            d_log_mu: vec![0.0; n_cells],
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn block_terms(terms: &Terms, genes: Range<usize>, out: Gradients) -> BlockSums {
    let input = terms.input;
    let n_cells = terms.shift.len();
    let n_segments = input.segments.len();
    let mut sums = BlockSums::new(if terms.gradients { n_cells } else { 0 });
    let mut residual = vec![0.0f32; if terms.gradients { n_cells } else { 0 }];
    let mut tile = Tile::new();
    let [mut spare_a, mut spare_shift, mut spare_d] = [[0.0; TILE]; 3];
    for (row, g) in genes.enumerate() {
        let log_theta = f64::from(input.log_theta[g]).clamp(-LOG_THETA_LIMIT, LOG_THETA_LIMIT);
        let theta = special::exp(log_theta);
        let gene = Gene {
            log_theta: log_theta as f32,
            theta: theta as f32,
            per_cell: terms.per_cell as f32,
        };
        let scale = &input.scale[g * n_cells..(g + 1) * n_cells];
        let dropout = input.dropout.map(|d| &d[g * n_cells..(g + 1) * n_cells]);
        let (mut cells, mut counts) = input.counts.gene(g);
        let mut d_log_theta = 0.0;
        for start in (0..n_cells).step_by(TILE) {
            let n = TILE.min(n_cells - start);
            let span = start..start + n;
            let a = whole(&scale[span.clone()], &mut spare_a);
            let shift = whole(&terms.shift_single[span.clone()], &mut spare_shift);
            let d = dropout.map(|d| whole(&d[span.clone()], &mut spare_d));
            match (d, terms.gradients) {
                (Some(d), true) => zeros_inflated(a, shift, d, gene, &mut tile),
                (Some(d), false) => zeros_inflated_value(a, shift, d, gene, &mut tile),
                (None, true) => zeros(a, shift, gene, &mut tile),
                (None, false) => zeros_value(a, shift, gene, &mut tile),
            }
            tile.log_probability[n..].fill(0.0);
            tile.d_log_theta[n..].fill(0.0);

            // Positive counts replace what the tile holds; sums in double precision go past it.
            let here = cells.partition_point(|&c| (c as usize) < start + n);
            for (&c, &count) in std::iter::zip(&cells[..here], &counts[..here]) {
                let c = c as usize;
                let i = c - start;
                let count = f64::from(count);
                let log_mu = f64::from(scale[c]) + terms.shift[c];
                let nb = positive(count, log_mu - log_theta, theta);
                let entry = match dropout {
                    Some(d) => inflate(nb, f64::from(d[c])),
                    None => nb,
                };
                sums.log_probability += entry.value;
                tile.log_probability[i] = 0.0;
                if terms.gradients {
                    tile.d_log_mu[i] = (terms.per_cell * entry.d_log_mu) as f32;
                    tile.d_dropout[i] = (terms.per_cell * entry.d_dropout) as f32;
                    d_log_theta += terms.per_cell * entry.d_log_theta;
                    tile.d_log_theta[i] = 0.0;
                    // So far it holds the negative mean.
                    tile.residual[i] += count as f32;
                }
            }
            cells = &cells[here..];
            counts = &counts[here..];

            sums.log_probability += sum(&mut tile.log_probability);
            if terms.gradients {
                d_log_theta += sum(&mut tile.d_log_theta);
                let at = row * n_cells + start;
                out.d_scale[at..at + n].copy_from_slice(&tile.d_log_mu[..n]);
                if dropout.is_some() {
                    out.d_dropout[at..at + n].copy_from_slice(&tile.d_dropout[..n]);
                }
                residual[span.clone()].copy_from_slice(&tile.residual[..n]);
                for (s, &d) in std::iter::zip(&mut sums.d_log_mu[span], &tile.d_log_mu) {
                    *s += f64::from(d);
                }
            }
        }
        if terms.gradients {
            out.d_log_theta[row] = d_log_theta as f32;
            let errors = &mut out.squared_error[row * n_segments..(row + 1) * n_segments];
            for (error, segment) in std::iter::zip(errors, input.segments) {
                *error = sum_of_squares(&residual[segment.clone()]) as f32;
            }
        }
    }
    sums
}

#[inline(always)]
fn add(sums: &mut [f64], terms: &[f64]) {
    for (sum, term) in std::iter::zip(sums, terms) {
        *sum += term;
    }
}

#[inline(always)]
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks
        .remainder()
        .iter()
        .map(|&v| f64::from(v) * f64::from(v))
        .sum();
    for chunk in chunks {
        for (lane, &v) in std::iter::zip(&mut lanes, chunk) {
            *lane += f64::from(v) * f64::from(v);
        }
    }
    lanes.iter().sum::<f64>() + rest
}
