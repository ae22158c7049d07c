//! The decoder's last layer and the count loss in one: from hidden units to the loss and back to the gradients of
//! hidden units, weights and dispersions, without an array of genes x cells ever leaving the kernel.
//!
//! Three passes over blocks of genes. The first forms the logits of the genes' shares and what the softmax needs, the
//! second scores the counts, the third, which needs the second's sums over all genes, sends the gradients back. Nearly every entry is zero, so each row of a gene is first treated as if it held
//! zeros only, in vector instructions and single precision; positive counts then replace what was put there, in
//! double precision. Blocks depend on the shape alone, and sums over blocks are formed in block order: the result has
//! the same bits for any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::gene_blocks;
use super::loss_passes::{Block, Pass};
use super::softmax::log_sum_exp_of_parts;
use super::tiles::{Row, Tiling, TILE};
use super::types::{GeneMajorCounts, Segment, Wiring};
use crate::{Error, Result};

/// Parameters of a sparsely connected head.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// One weight per slot of the wiring.
    pub weights: &'a [f32],
    /// One per gene; if it differs by segment, segments x genes.
    pub bias: &'a [f32],
    /// Whether it does. A single segment's bias has the form of a common one, but its gradient is added up in another
    /// order.
    pub bias_by_segment: bool,
}

/// What the loss is computed from.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLossInput<'a> {
    /// The last hidden layer, cells x hidden units.
    pub hidden: &'a [f32],
    /// The cells of each batch: in order, without gaps, none empty.
    pub segments: &'a [Segment],
    /// The connections of both heads.
    pub wiring: &'a Wiring,
    /// Gives the logits of the genes' shares (`px_scale` is their softmax over genes).
    pub scale: Head<'a>,
    /// Gives the logits of the extra zeros; `None` for the negative binomial.
    pub dropout: Option<Head<'a>>,
    /// Logarithm of the inverse dispersion, one per gene.
    pub log_theta: &'a [f32],
    /// Logarithm of the cells' total counts.
    pub log_library: &'a [f32],
    /// The counts to explain.
    pub counts: &'a GeneMajorCounts,
}

/// Gradients of a head's parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeadGradients {
    /// One per slot of the wiring.
    pub weights: Vec<f32>,
    /// In the form of the head's bias.
    pub bias: Vec<f32>,
}

/// Gradients of the loss, and what else falls off on the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DecodeLossGradients {
    /// With respect to `hidden`, cells x hidden units.
    pub hidden: Vec<f32>,
    /// With respect to the scale head.
    pub scale: HeadGradients,
    /// With respect to the dropout head; empty for the negative binomial.
    pub dropout: HeadGradients,
    /// With respect to `log_theta`.
    pub log_theta: Vec<f32>,
    /// Segments x genes, the sum over the segment's cells of `(x - E[x])^2`; the mean `E[x]` is
    /// `(1 - px_dropout) * library * px_scale`.
    pub squared_error: Vec<f32>,
}

/// Memory that is kept from one mini-batch to the next: fresh memory each time would cost a fifth of a step.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Filled by the last call that asked for gradients.
    pub gradients: DecodeLossGradients,
    hidden: Vec<Row>,
    d_hidden: Vec<Row>,
    blocks: Vec<Block>,
}

/// Negative log-likelihood, summed over genes, mean over cells (nats per cell); with `gradients` also
/// [`Workspace::gradients`]. Works on the rayon pool it is called in.
///
/// # Errors
/// [`Error::Argument`] if the arrays' lengths do not fit together or there is no cell or no gene.
pub fn decode_loss(
    input: &DecodeLossInput,
    gradients: bool,
    workspace: &mut Workspace,
) -> Result<f64> {
    check(input)?;
    let n_hidden = input.wiring.n_hidden;
    let tiling = Tiling::new(input.segments, input.wiring);
    let n_tiles = tiling.n_tiles();
    let Workspace {
        gradients: out,
        hidden,
        d_hidden,
        blocks,
    } = workspace;
    let genes = gene_blocks(input.wiring.n_genes());
    blocks.resize_with(genes.len(), Block::default);
    for (block, genes) in std::iter::zip(&mut *blocks, genes) {
        block.genes = genes;
    }
    tiling.spread(input.hidden, n_hidden, hidden);
    let mut pass = Pass {
        input,
        tiling: &tiling,
        hidden,
        shift: vec![[0.0; TILE]; n_tiles],
        negative_log_sum: vec![Row::ZERO; n_tiles],
        d_log_mu_sum: vec![Row::ZERO; n_tiles],
        per_cell: -1.0 / tiling.n_cells as f64,
    };

    blocks.par_iter_mut().for_each(|b| pass.share_logits(b));
    let parts = blocks.iter().map(|b| (&b.highest[..], &b.sum_exp[..]));
    let log_sum = log_sum_exp_of_parts(parts, n_tiles * TILE);
    for tile in 0..n_tiles {
        for (i, cell) in tiling.cells(tile).enumerate() {
            let log_sum = log_sum[tile * TILE + i];
            pass.shift[tile][i] = f64::from(input.log_library[cell]) - log_sum;
            pass.negative_log_sum[tile].0[i] = -log_sum as f32;
        }
    }

    if gradients {
        blocks.par_iter_mut().for_each(|b| pass.score(b, true));
        for tile in 0..n_tiles {
            for i in 0..TILE {
                let parts = blocks.iter().map(|b| f64::from(b.d_log_mu_sum[tile].0[i]));
                pass.d_log_mu_sum[tile].0[i] = parts.sum::<f64>() as f32;
            }
        }
        blocks.par_iter_mut().for_each(|b| pass.send_back(b));
        d_hidden.clear();
        d_hidden.resize(n_tiles * n_hidden, Row::ZERO);
        for block in &*blocks {
            for (sum, part) in std::iter::zip(&mut *d_hidden, &block.d_hidden) {
                for (s, p) in std::iter::zip(&mut sum.0, part.0) {
                    *s += p;
                }
            }
        }
        tiling.collect(d_hidden, n_hidden, &mut out.hidden);
        join(blocks, out);
    } else {
        blocks.par_iter_mut().for_each(|b| pass.score(b, false));
    }
    let log_probability: f64 = blocks.iter().map(|b| b.log_probability).sum();
    Ok(log_probability * pass.per_cell)
}

impl HeadGradients {
    /// Zeros for a block's genes.
    pub(super) fn start(&mut self, head: Head, wiring: &Wiring, genes: &Range<usize>) {
        let n_slots = wiring.offsets[genes.end] - wiring.offsets[genes.start];
        refill(&mut self.weights, n_slots as usize, 0.0);
        let n_biases = head.bias.len() / wiring.n_genes();
        refill(&mut self.bias, genes.len() * n_biases, 0.0);
    }
}

/// Joins what the blocks found.
fn join(blocks: &[Block], out: &mut DecodeLossGradients) {
    let DecodeLossGradients {
        hidden: _,
        scale,
        dropout,
        log_theta,
        squared_error,
    } = out;
    for joined in [&mut scale.weights, &mut dropout.weights, log_theta] {
        joined.clear();
    }
    for block in blocks {
        scale.weights.extend(&block.scale_gradients.weights);
        dropout.weights.extend(&block.dropout_gradients.weights);
        log_theta.extend(block.d_log_theta.iter().map(|&d| d as f32));
    }
    gene_last(blocks, |b| &b.scale_gradients.bias, |d| d, &mut scale.bias);
    gene_last(
        blocks,
        |b| &b.dropout_gradients.bias,
        |d| d,
        &mut dropout.bias,
    );
    gene_last(blocks, |b| &b.squared_error, |e| e as f32, squared_error);
}

/// From genes x columns in each block to columns x genes of all blocks.
fn gene_last<T: Copy>(
    blocks: &[Block],
    part: impl Fn(&Block) -> &[T],
    convert: impl Fn(T) -> f32,
    joined: &mut Vec<f32>,
) {
    joined.clear();
    let n_columns = |b: &Block| part(b).len() / b.genes.len();
    for column in 0..blocks.first().map_or(0, n_columns) {
        for block in blocks {
            let of_column = part(block).iter().skip(column).step_by(n_columns(block));
            joined.extend(of_column.map(|&value| convert(value)));
        }
    }
}

pub(super) fn refill<T: Clone>(values: &mut Vec<T>, n: usize, value: T) {
    values.clear();
    values.resize(n, value);
}

fn check(input: &DecodeLossInput) -> Result<()> {
    let (wiring, counts) = (input.wiring, input.counts);
    let n_cells = input.log_library.len();
    let n_genes = wiring.n_genes();
    let n_segments = input.segments.len();
    let head_fits = |head: Head| {
        head.weights.len() == wiring.n_slots()
            && head.bias.len() == n_genes * if head.bias_by_segment { n_segments } else { 1 }
    };
    let mut end = 0;
    let segments_fit = input.segments.iter().all(|s| {
        let has_mask = wiring.masks.len() == 1 || s.batch < wiring.masks.len();
        let follows = s.rows.start == end && s.rows.end > end;
        end = s.rows.end;
        has_mask && follows
    });
    let fits = n_cells > 0
        && n_genes > 0
        && input.hidden.len() == n_cells * wiring.n_hidden
        && head_fits(input.scale)
        && input.dropout.is_none_or(head_fits)
        && input.log_theta.len() == n_genes
        && counts.n_cells == n_cells
        && counts.n_genes() == n_genes
        && counts.counts.len() == counts.cells.len()
        && counts.offsets.last().map(|&o| o as usize) == Some(counts.cells.len())
        && counts.offsets.is_sorted()
        && counts.cells.iter().all(|&c| (c as usize) < n_cells)
        && segments_fit
        && end == n_cells;
    if fits {
        return Ok(());
    }
    Err(Error::Argument(format!(
        "the parts of a mini-batch of {n_cells} cells and {n_genes} genes do not fit together: {} hidden values of {} \
         units, {} scale and {} dropout weights for {} connections, {} dispersions, counts of {} cells and {} genes, \
         segments {:?}",
        input.hidden.len(),
        wiring.n_hidden,
        input.scale.weights.len(),
        input.dropout.map_or(0, |d| d.weights.len()),
        wiring.n_slots(),
        input.log_theta.len(),
        counts.n_cells,
        counts.n_genes(),
        input.segments,
    )))
}
