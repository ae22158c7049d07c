//! The three passes of the decoder's loss over a block of genes; `decode_loss` says what they are for.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::distributions::{CountDistribution, Zeros};
use super::gene_statistics::{GeneStatistic, Wanted};
use super::instructions::Instructions;
use super::loss_types::{refill, DecodeLossInput, Head, HeadGradients};
use super::math;
use super::positive_counts::{Dispersion, Place, PositiveCounts};
use super::product::{project, BackProjection, HeadRow};
use super::row::{sum, Row, TILE};
use super::softmax::block_sum_exp;
use super::special;
use super::tiles::Tiling;
use super::types::GeneMajorCounts;
use super::zero_tile::{Gene, ZeroTile, GROUP};

/// Dispersions beyond `exp(60)` either way are taken as if there, so that no product leaves the range of numbers.
const LOG_THETA_LIMIT: f64 = 60.0;

/// What a block of genes works with. Rows of genes are tiles x genes, rows of hidden units tiles x hidden units.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) genes: Range<usize>,
    /// Logits of the genes' shares.
    pub(super) scale: Vec<Row>,
    /// Per cell (tiles x cells) the highest of them and the sum of `exp(logit - highest)`.
    pub(super) highest: Vec<f32>,
    pub(super) sum_exp: Vec<f64>,
    pub(super) log_probability: f64,
    /// Of the loss with respect to the logarithm of the mean.
    pub(super) d_log_mu: Vec<Row>,
    /// Its sum over the block's genes, one row per tile.
    pub(super) d_log_mu_sum: Vec<Row>,
    /// Of the loss with respect to the logits of the extra zeros; empty where the distribution has none.
    pub(super) d_dropout: Vec<Row>,
    /// The block's part of the hidden units' gradient.
    pub(super) d_hidden: Vec<Row>,
    /// Per gene; empty where the distribution has no dispersion.
    pub(super) d_log_theta: Vec<f64>,
    /// Genes x statistics x segments.
    pub(super) gene_sums: Vec<f64>,
    pub(super) scale_gradients: HeadGradients,
    pub(super) dropout_gradients: HeadGradients,
}

/// What every block reads.
pub(super) struct Pass<'a> {
    pub(super) input: &'a DecodeLossInput<'a>,
    pub(super) tiling: &'a Tiling,
    /// Tiles x hidden units.
    pub(super) hidden: &'a [Row],
    /// `log_library - log_sum_exp`, to be added to a logit for the logarithm of the mean; one row per tile.
    pub(super) shift: Vec<[f64; TILE]>,
    /// One row per tile.
    pub(super) library: Vec<Row>,
    pub(super) negative_log_sum: Vec<Row>,
    /// The sum over all genes of the loss's derivative by the logarithm of the mean.
    pub(super) d_log_mu_sum: Vec<Row>,
    /// `-1 / n_cells`: from a log-probability to its part of the loss.
    pub(super) per_cell: f64,
}

impl Pass<'_> {
    /// First pass: the logits of the genes' shares.
    pub(super) fn share_logits(&self, instructions: impl Instructions, block: &mut Block) {
        instructions.run(ShareLogits { pass: self, block });
    }

    /// Second pass: the counts' probability; with `gradients` also what the logits' and dispersions' gradients are made of.
    pub(super) fn score<D: CountDistribution>(
        &self,
        instructions: impl Instructions,
        block: &mut Block,
        gradients: bool,
    ) {
        instructions.run(Score {
            pass: self,
            block,
            gradients,
            distribution: PhantomData::<D>,
        });
    }

    /// Third pass: each entry of the shares' gradient loses its share of the cell's total; then both heads' gradients
    /// are sent back. The exponential is formed anew; keeping it would cost more memory traffic than it saves.
    pub(super) fn send_back(&self, instructions: impl Instructions, block: &mut Block) {
        instructions.run(SendBack { pass: self, block });
    }

    #[inline(always)]
    fn hidden(&self, tile: usize) -> &[Row] {
        let n = self.input.wiring.n_hidden;
        &self.hidden[tile * n..(tile + 1) * n]
    }

    #[inline(always)]
    fn project<S: Simd>(&self, simd: S, head: Head, tile: usize, gene: usize, out: &mut Row) {
        let n_genes = self.input.wiring.n_genes();
        *out = self.tiling.bias_row(tile, head.bias, n_genes, gene);
        project(
            simd,
            self.hidden(tile),
            &self.tiling.runs[tile],
            self.input.wiring,
            head.weights,
            gene,
            out,
        );
    }

    /// The statistics that are wanted of every gene.
    #[inline(always)]
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            statistics: self.input.statistics,
            n_segments: self.input.segments.len(),
        }
    }
}

struct ShareLogits<'a> {
    pass: &'a Pass<'a>,
    block: &'a mut Block,
}

impl WithSimd for ShareLogits<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let ShareLogits { pass, block } = self;
        let n_tiles = pass.tiling.n_tiles();
        block.scale.resize(n_tiles * block.genes.len(), Row::ZERO);
        refill(&mut block.highest, n_tiles * TILE, f32::NEG_INFINITY);
        refill(&mut block.sum_exp, n_tiles * TILE, 0.0);
        let rows = block.scale.chunks_exact_mut(block.genes.len());
        for (tile, rows) in rows.enumerate() {
            for (gene, row) in std::iter::zip(block.genes.clone(), &mut *rows) {
                pass.project(simd, pass.input.scale, tile, gene, row);
            }
            let cells = tile * TILE..(tile + 1) * TILE;
            block_sum_exp(
                simd,
                rows.iter().map(|row| &row.0[..]),
                &mut block.highest[cells.clone()],
                &mut block.sum_exp[cells],
            );
        }
    }
}

struct Score<'a, D> {
    pass: &'a Pass<'a>,
    block: &'a mut Block,
    gradients: bool,
    distribution: PhantomData<D>,
}

impl<D: CountDistribution> WithSimd for Score<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Score {
            pass,
            block,
            gradients,
            ..
        } = self;
        let input = pass.input;
        let (n_tiles, n_genes) = (pass.tiling.n_tiles(), block.genes.len());
        let wanted = pass.wanted();
        let n_columns = wanted.n_columns();
        let wants_log_errors = wanted.wants(GeneStatistic::LogSquaredError);
        let wants_counts =
            wanted.wants(GeneStatistic::Count) || wanted.wants(GeneStatistic::LogShare);
        block.log_probability = 0.0;
        if gradients {
            block.d_log_mu.resize(n_tiles * n_genes, Row::ZERO);
            refill(&mut block.d_log_mu_sum, n_tiles, Row::ZERO);
            let n_rows = if D::HAS_DROPOUT { n_tiles * n_genes } else { 0 };
            block.d_dropout.resize(n_rows, Row::ZERO);
            let n_dispersions = if D::HAS_DISPERSION { n_genes } else { 0 };
            refill(&mut block.d_log_theta, n_dispersions, 0.0);
            refill(&mut block.gene_sums, n_genes * n_columns, 0.0);
        }
        let dispersions: Vec<Dispersion> = (block.genes.clone())
            .map(|gene| dispersion(input.log_theta.map(|t| t[gene])))
            .collect();
        let mut tiles = ZeroTile::new();
        let mut positive = PositiveCounts::<D::Positive>::new();
        let mut genes = [Gene::default(); GROUP];
        for tile in 0..n_tiles {
            let cells = pass.tiling.cells(tile);
            let segments = pass.tiling.segments(tile);
            let negative_log_sum = &pass.negative_log_sum[tile].0;
            let shift = &pass.shift[tile];
            let shift_single = shift.map(|s| s as f32);
            let scale = &block.scale[tile * n_genes..(tile + 1) * n_genes];
            // Step by step for some genes at a time, not gene by gene: a gene is one chain of dependent instructions,
            // and the processor must see several to keep busy.
            for first in (0..n_genes).step_by(GROUP) {
                let rows = first..(first + GROUP).min(n_genes);
                let n = rows.len();
                let scale = &scale[rows.clone()];
                for (r, row) in rows.clone().enumerate() {
                    let gene = block.genes.start + row;
                    genes[r] = Gene {
                        log_theta: dispersions[row].log_theta as f32,
                        theta: dispersions[row].theta as f32,
                        per_cell: pass.per_cell as f32,
                    };
                    if let Some(head) = input.dropout {
                        pass.project(simd, head, tile, gene, &mut tiles.logits[r]);
                    }
                }
                let zeros = Zeros {
                    scale,
                    shift: &shift_single,
                    genes: &genes[..n],
                };
                if gradients {
                    D::score_zeros(simd, &zeros, &mut tiles);
                } else {
                    D::score_zeros_value(simd, &zeros, &mut tiles);
                }
                tiles.clear_from(cells.len());
                if gradients {
                    for (r, row) in rows.clone().enumerate() {
                        let sums = &mut block.gene_sums[row * n_columns..(row + 1) * n_columns];
                        wanted.add_expected(simd, segments, &tiles.residual[r], sums);
                    }
                    if wants_log_errors {
                        tiles.start_log_residuals(simd, n);
                    }
                }

                let mut put = |positive: &mut PositiveCounts<_>, tiles: &mut ZeroTile| {
                    positive.drain(|place, entry| {
                        block.log_probability += entry.value;
                        tiles.put(place, entry, pass.per_cell);
                    });
                };
                for (r, row) in rows.clone().enumerate() {
                    let gene = block.genes.start + row;
                    let (of_gene, counts) = counts_in(input.counts, gene, &cells);
                    if of_gene.is_empty() {
                        continue;
                    }
                    positive.turn_to(dispersions[row]);
                    for (&cell, &count) in std::iter::zip(of_gene, counts) {
                        let i = cell as usize - cells.start;
                        let log_mu = f64::from(scale[r].0[i]) + shift[i];
                        let logit = f64::from(tiles.logits[r].0[i]);
                        let place = Place { row: r, cell: i };
                        positive.push(place, f64::from(count), log_mu, logit);
                        // So far it holds the negative mean.
                        tiles.residual[r].0[i] += count;
                        if wants_log_errors {
                            tiles.log_residual[r].0[i] += special::ln_1p(f64::from(count)) as f32;
                        }
                        if gradients && wants_counts {
                            let log_share = scale[r].0[i] + negative_log_sum[i];
                            let sums = &mut block.gene_sums[row * n_columns..(row + 1) * n_columns];
                            wanted.add_count(segments, i, count, log_share, sums);
                        }
                    }
                    if positive.is_full() {
                        put(&mut positive, &mut tiles);
                    }
                }
                put(&mut positive, &mut tiles);
                for row in &tiles.log_probability[..n] {
                    block.log_probability += f64::from(sum(simd, row));
                }
                if !gradients {
                    continue;
                }
                let d_log_mu = &mut block.d_log_mu[tile * n_genes..(tile + 1) * n_genes];
                d_log_mu[rows.clone()].copy_from_slice(&tiles.d_log_mu[..n]);
                let d_log_mu_sum = &mut block.d_log_mu_sum[tile].0;
                for (r, row) in rows.clone().enumerate() {
                    for (sum, &d) in std::iter::zip(&mut *d_log_mu_sum, &tiles.d_log_mu[r].0) {
                        *sum += d;
                    }
                    if D::HAS_DISPERSION {
                        block.d_log_theta[row] += f64::from(sum(simd, &tiles.d_log_theta[r]));
                    }
                    let sums = &mut block.gene_sums[row * n_columns..(row + 1) * n_columns];
                    let errors = [&tiles.residual[r], &tiles.log_residual[r]];
                    wanted.add_errors(simd, segments, errors, sums);
                }
                if D::HAS_DROPOUT {
                    let d_dropout = &mut block.d_dropout[tile * n_genes..(tile + 1) * n_genes];
                    d_dropout[rows].copy_from_slice(&tiles.d_dropout[..n]);
                }
            }
        }
    }
}

struct SendBack<'a> {
    pass: &'a Pass<'a>,
    block: &'a mut Block,
}

impl WithSimd for SendBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let SendBack { pass, block } = self;
        let input = pass.input;
        let (n_genes, n_hidden) = (block.genes.len(), input.wiring.n_hidden);
        let (wiring, genes) = (input.wiring, &block.genes);
        block.scale_gradients.clear_for(input.scale, wiring, genes);
        match input.dropout {
            Some(head) => block.dropout_gradients.clear_for(head, wiring, genes),
            None => block.dropout_gradients = HeadGradients::default(),
        }
        let wanted = pass.wanted();
        let n_columns = wanted.n_columns();
        let wants_shares = [
            GeneStatistic::Rate,
            GeneStatistic::Share,
            GeneStatistic::ShareVariation,
        ]
        .iter()
        .any(|&statistic| wanted.wants(statistic));
        // In a block a gene's biases lie side by side.
        let n_biases = |gradients: &HeadGradients| gradients.bias.len() / n_genes;
        let n_scale = n_biases(&block.scale_gradients);
        let n_dropout = n_biases(&block.dropout_gradients);
        refill(
            &mut block.d_hidden,
            pass.tiling.n_tiles() * n_hidden,
            Row::ZERO,
        );
        for tile in 0..pass.tiling.n_tiles() {
            let segments = pass.tiling.segments(tile);
            let n_cells = pass.tiling.cells(tile).len();
            let totals = &pass.d_log_mu_sum[tile].0;
            let negative_log_sum = &pass.negative_log_sum[tile].0;
            let back = BackProjection {
                hidden: pass.hidden(tile),
                runs: &pass.tiling.runs[tile],
                wiring: input.wiring,
                first_slot: input.wiring.offsets[block.genes.start] as usize,
            };
            let d_hidden = &mut block.d_hidden[tile * n_hidden..(tile + 1) * n_hidden];
            for (row, gene) in block.genes.clone().enumerate() {
                let at = tile * n_genes + row;
                let Row(logits) = &block.scale[at];
                let mut d = block.d_log_mu[at];
                let mut share = Row::ZERO;
                for i in 0..TILE {
                    share.0[i] = math::exp_neg_abs(simd, logits[i] + negative_log_sum[i]);
                    d.0[i] -= share.0[i] * totals[i];
                }
                if wants_shares {
                    let sums = &mut block.gene_sums[row * n_columns..(row + 1) * n_columns];
                    wanted.add_shares(
                        simd,
                        segments,
                        n_cells,
                        &mut share,
                        &pass.library[tile],
                        sums,
                    );
                }
                let of_gene = row * n_scale..(row + 1) * n_scale;
                let d_bias = &mut block.scale_gradients.bias[of_gene];
                let by_segment = input.scale.bias_by_segment;
                pass.tiling.add_to_bias(simd, tile, &d, by_segment, d_bias);
                let scale = HeadRow {
                    weights: input.scale.weights,
                    d,
                    d_weights: &mut block.scale_gradients.weights,
                };
                if let Some(head) = input.dropout {
                    let d = block.d_dropout[at];
                    let of_gene = row * n_dropout..(row + 1) * n_dropout;
                    let d_bias = &mut block.dropout_gradients.bias[of_gene];
                    pass.tiling
                        .add_to_bias(simd, tile, &d, head.bias_by_segment, d_bias);
                    let dropout = HeadRow {
                        weights: head.weights,
                        d,
                        d_weights: &mut block.dropout_gradients.weights,
                    };
                    back.add(simd, gene, [scale, dropout], d_hidden);
                } else {
                    back.add(simd, gene, [scale], d_hidden);
                }
            }
        }
        for sums in block.gene_sums.chunks_exact_mut(n_columns.max(1)) {
            wanted.centre_shares(input.segments, sums);
        }
    }
}

/// A gene's dispersion, if it has one, within the limit.
#[inline(always)]
fn dispersion(log_theta: Option<f32>) -> Dispersion {
    let log_theta = log_theta.map_or(0.0, f64::from);
    let log_theta = log_theta.clamp(-LOG_THETA_LIMIT, LOG_THETA_LIMIT);
    Dispersion {
        log_theta,
        theta: special::exp(log_theta),
    }
}

/// Cells and counts of a gene within a tile's cells.
#[inline(always)]
fn counts_in<'a>(
    counts: &'a GeneMajorCounts,
    gene: usize,
    within: &Range<usize>,
) -> (&'a [u32], &'a [f32]) {
    let (cells, counts) = counts.gene(gene);
    let from = cells.partition_point(|&c| (c as usize) < within.start);
    let to = cells.partition_point(|&c| (c as usize) < within.end);
    (&cells[from..to], &counts[from..to])
}
