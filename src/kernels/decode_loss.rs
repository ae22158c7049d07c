//! The decoder's last layer and the count loss in one: from hidden units to the loss and back to the gradients of
//! hidden units, weights and dispersions, without an array of genes x cells ever leaving the kernel.
//!
//! Three passes over blocks of genes. The first forms the logits of the genes' shares and what the softmax needs, the
//! second scores the counts, the third, which needs the second's sums over all genes, sends the gradients back. Nearly
//! every entry is zero, so each row of a gene is first treated as if it held zeros only, in vector instructions and
//! single precision; positive counts then replace what was put there, in double precision. Blocks depend on the shape
//! alone, and sums over blocks are formed in block order: the result has the same bits for any number of threads.

use rayon::prelude::*;

use super::blocks::gene_blocks;
use super::distributions::{CountDistribution, WithDistribution};
use super::instructions::Instructions;
use super::loss_passes::{Block, Pass};
use super::loss_types::{DecodeLossGradients, DecodeLossInput};
use super::row::{Row, TILE};
use super::softmax::log_sum_exp_of_parts;
use super::tiles::Tiling;
use crate::Result;

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
/// [`crate::Error::Argument`] if the arrays' lengths do not fit together or there is no cell or no gene.
pub fn decode_loss(
    instructions: impl Instructions,
    input: &DecodeLossInput,
    gradients: bool,
    workspace: &mut Workspace,
) -> Result<f64> {
    input.check()?;
    Ok(input.likelihood.with(Loss {
        instructions,
        input,
        gradients,
        workspace,
    }))
}

struct Loss<'a, I> {
    instructions: I,
    input: &'a DecodeLossInput<'a>,
    gradients: bool,
    workspace: &'a mut Workspace,
}

impl<I: Instructions> WithDistribution for Loss<'_, I> {
    type Output = f64;

    fn with<D: CountDistribution>(self) -> f64 {
        loss_under::<D>(
            self.instructions,
            self.input,
            self.gradients,
            self.workspace,
        )
    }
}

/// The same under one distribution, of parts that fit together.
fn loss_under<D: CountDistribution>(
    instructions: impl Instructions,
    input: &DecodeLossInput,
    gradients: bool,
    workspace: &mut Workspace,
) -> f64 {
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
        library: vec![Row::ZERO; n_tiles],
        negative_log_sum: vec![Row::ZERO; n_tiles],
        d_log_mu_sum: vec![Row::ZERO; n_tiles],
        per_cell: -1.0 / tiling.n_cells as f64,
    };

    blocks
        .par_iter_mut()
        .for_each(|b| pass.share_logits(instructions, b));
    let parts = blocks.iter().map(|b| (&b.highest[..], &b.sum_exp[..]));
    let log_sum = log_sum_exp_of_parts(parts, n_tiles * TILE);
    for tile in 0..n_tiles {
        for (i, cell) in tiling.cells(tile).enumerate() {
            let log_sum = log_sum[tile * TILE + i];
            pass.shift[tile][i] = f64::from(input.log_library[cell]) - log_sum;
            pass.negative_log_sum[tile].0[i] = -log_sum as f32;
            pass.library[tile].0[i] = input.log_library[cell].exp();
        }
    }

    if gradients {
        let of_blocks = blocks.par_iter_mut();
        of_blocks.for_each(|b| pass.score::<D>(instructions, b, true));
        for tile in 0..n_tiles {
            for i in 0..TILE {
                let parts = blocks.iter().map(|b| f64::from(b.d_log_mu_sum[tile].0[i]));
                pass.d_log_mu_sum[tile].0[i] = parts.sum::<f64>() as f32;
            }
        }
        blocks
            .par_iter_mut()
            .for_each(|b| pass.send_back(instructions, b));
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
        join(blocks, D::HAS_DISPERSION, out);
    } else {
        let of_blocks = blocks.par_iter_mut();
        of_blocks.for_each(|b| pass.score::<D>(instructions, b, false));
    }
    let log_probability: f64 = blocks.iter().map(|b| b.log_probability).sum();
    log_probability * pass.per_cell
}

/// Joins what the blocks found.
fn join(blocks: &[Block], has_dispersion: bool, out: &mut DecodeLossGradients) {
    let DecodeLossGradients {
        hidden: _,
        scale,
        dropout,
        log_theta,
        gene_sums,
    } = out;
    scale.weights.clear();
    dropout.weights.clear();
    *log_theta = has_dispersion.then(|| {
        let of_blocks = blocks.iter().flat_map(|block| &block.d_log_theta);
        of_blocks.map(|&d| d as f32).collect()
    });
    for block in blocks {
        scale.weights.extend(&block.scale_gradients.weights);
        dropout.weights.extend(&block.dropout_gradients.weights);
    }
    gene_last(blocks, |b| &b.scale_gradients.bias, |d| d, &mut scale.bias);
    gene_last(
        blocks,
        |b| &b.dropout_gradients.bias,
        |d| d,
        &mut dropout.bias,
    );
    gene_last(blocks, |b| &b.gene_sums, |sum| sum as f32, gene_sums);
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
