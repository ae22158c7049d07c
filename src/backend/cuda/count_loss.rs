//! The last layer and the count loss, forwards and backwards: `src/kernels/cuda/count_loss.cu` between the products of
//! the heads.

use candle_core::{bail, Result as CandleResult, Tensor};

use super::arguments::{Address, Bias, CountLoss as Arguments, MOST_STATISTICS};
use super::card::{Card, Grid, Lent};
use super::heads::Heads;
use super::rows::CELLS;
use super::scratch::Scratch;
use super::softmax::{log_sums, Summed};
use super::Cuda;
use crate::backend::{CountLoss, CountLossGradients, CountLossInput, HeadGradients};
use crate::kernels::{GeneStatistic, Likelihood};
use crate::{Error, Result};

/// As in `count_loss.cu`.
const THREADS: u32 = 256;
const GENES: usize = 32;

/// A bias as the kernels read it, of so many genes and segments.
pub(super) fn bias_of(
    card: &Card,
    bias: &Tensor,
    n_genes: usize,
    n_segments: usize,
) -> CandleResult<(Lent, Bias)> {
    let by_segment = bias.rank() == 2;
    let n_rows = if by_segment { n_segments } else { 1 };
    let lent = card.lend_exactly(bias, n_rows * n_genes)?;
    let bias = Bias {
        values: lent.at,
        by_segment: if by_segment { n_genes as u64 } else { 0 },
    };
    Ok((lent, bias))
}

/// The loss; everything but the values of `CountLossInput` is the card's.
pub(super) fn count_loss(
    card: &Card,
    input: &CountLossInput<Cuda>,
    gradients: bool,
    scratch: &mut Scratch,
) -> Result<CountLoss> {
    check(input)?;
    let (m, wiring, parameters) = (input.minibatch, input.wiring, &input.parameters);
    let ((n_cells, _), n_genes) = (input.hidden.dims2()?, wiring.n_genes);
    let n_segments = m.segments.len();
    let runs = wiring.runs(&m.segments);
    let mut heads = vec![parameters.scale.weights];
    heads.extend(parameters.dropout.map(|head| head.weights));
    let heads = Heads {
        card,
        wiring,
        weights: &heads,
        hidden: &input.hidden.contiguous()?,
        runs: &runs,
    };
    let logits = heads.logits()?;

    let (_scale, scale_bias) = bias_of(card, parameters.scale.bias, n_genes, n_segments)?;
    let dropout = parameters
        .dropout
        .map(|head| bias_of(card, head.bias, n_genes, n_segments));
    let dropout = dropout.transpose()?;
    let log_theta = parameters
        .log_theta
        .map(|theta| card.lend_exactly(theta, n_genes));
    let log_theta = log_theta.transpose()?;
    let summed = Summed {
        logits: &logits.values,
        n_genes,
        rows: &m.rows,
        bias: scale_bias,
        log_library: Some(&m.log_library),
    };
    let sums = log_sums(card, &summed, scratch)?;

    let tiles = n_cells.div_ceil(CELLS);
    let blocks = logits.n_rows.div_ceil(GENES);
    let n_statistics = input.statistics.len();
    let pieces = (m.rows.n_pieces(), n_genes);
    let loss = card.fresh::<f32>(())?;
    let out_log_theta = card.fresh::<f32>(n_genes)?;
    let out_scale = card.fresh::<f32>(parameters.scale.bias.shape())?;
    let out_dropout = match parameters.dropout {
        Some(head) => Some(card.fresh::<f32>(head.bias.shape())?),
        None => None,
    };
    let gene_sums = card.fresh::<f32>((n_statistics, n_segments, n_genes))?;

    let at = |tensor: &Tensor| card.lend::<f32>(tensor).map(|lent| lent.at);
    let nothing = Address::default();
    let mut statistics = [0; MOST_STATISTICS];
    for (place, &statistic) in statistics.iter_mut().zip(input.statistics) {
        *place = statistic as i32;
    }
    let arguments = Arguments {
        logits: at(&logits.values)?,
        d_means: scratch.table::<f32>(card, "gradients of means", (n_genes, n_cells))?,
        scale_bias,
        dropout_bias: dropout.as_ref().map_or(scale_bias, |(_, bias)| *bias),
        rows: m.rows.arguments(),
        n_genes: n_genes as i32,
        n_padded: logits.n_rows as i32,
        log_theta: log_theta.as_ref().map_or(nothing, |lent| lent.at),
        counts: at(&m.counts)?,
        log_library: at(&m.log_library)?,
        negative_log_sum: sums.negative,
        shift: sums.shift,
        per_cell: -1.0 / n_cells as f32,
        n_statistics: n_statistics as i32,
        statistics,
        values: scratch.table::<f64>(card, "values of blocks", (blocks, tiles))?,
        d_log_mu: scratch.table::<f32>(card, "gradients of blocks", (blocks, n_cells))?,
        d_log_mu_sum: scratch.table::<f32>(card, "gradients of cells", n_cells)?,
        d_log_theta: scratch.table::<f32>(card, "gradients of dispersions", (tiles, n_genes))?,
        d_bias: [
            scratch.table::<f32>(card, "gradients of scale biases", pieces)?,
            scratch.table::<f32>(card, "gradients of dropout biases", pieces)?,
        ],
        sums: scratch.table::<f32>(card, "sums", (n_statistics * pieces.0, n_genes))?,
        loss: at(&loss)?,
        out_log_theta: at(&out_log_theta)?,
        out_bias: [
            at(&out_scale)?,
            out_dropout.as_ref().map_or(Ok(nothing), at)?,
        ],
        out_sums: at(&gene_sums)?,
    };
    let by_tile = Grid::new((tiles, blocks), THREADS);
    let kernel = match (input.likelihood, gradients) {
        (Likelihood::Zinb, true) => "score_zinb",
        (Likelihood::Nb, true) => "score_nb",
        (Likelihood::Poisson, true) => "score_poisson",
        (Likelihood::Zinb, false) => "value_zinb",
        (Likelihood::Nb, false) => "value_nb",
        (Likelihood::Poisson, false) => "value_poisson",
    };
    card.launch(kernel, by_tile, &arguments)?;
    card.launch("finish_loss", Grid::new((1, 1), 256), &arguments)?;
    if !gradients {
        return Ok(CountLoss {
            value: loss,
            gradients: None,
        });
    }
    let by_cell = Grid::new((n_cells.div_ceil(8), 1), 256);
    card.launch("sum_over_genes", by_cell, &arguments)?;
    card.launch("through_softmax", by_tile, &arguments)?;
    let by_gene = Grid::new((n_genes.div_ceil(128), 1), 128);
    card.launch("finish_genes", by_gene, &arguments)?;

    // The logits' gradients took their place.
    let back = heads.back(logits, scratch)?;
    let mut weights = back.weights.into_iter();
    let mut head = |bias: Tensor| {
        weights
            .next()
            .map(|weights| HeadGradients { weights, bias })
    };
    let Some(scale) = head(out_scale) else {
        return Err(Error::Argument("a loss without a head".into()));
    };
    Ok(CountLoss {
        value: loss,
        gradients: Some(CountLossGradients {
            hidden: back.hidden,
            scale,
            dropout: out_dropout.and_then(head),
            log_theta: parameters.log_theta.map(|_| out_log_theta),
            gene_sums,
        }),
    })
}

/// Whether the parts fit together; the lengths of parameters are looked at where they are lent.
fn check(input: &CountLossInput<Cuda>) -> Result<()> {
    let (m, wiring) = (input.minibatch, input.wiring);
    let n_cells = m.segments.last().map_or(0, |s| s.rows.end);
    let wants = |statistic| input.statistics.contains(&statistic);
    let fits = n_cells > 0
        && wiring.n_genes > 0
        && m.n_genes() == wiring.n_genes
        && input.hidden.dims() == [n_cells, wiring.n_hidden]
        && input.parameters.dropout.is_some() == input.likelihood.has_dropout()
        && input.parameters.log_theta.is_some() == input.likelihood.has_dispersion()
        && input.statistics.len() <= MOST_STATISTICS
        && (!wants(GeneStatistic::ShareVariation) || wants(GeneStatistic::Share));
    if fits {
        return Ok(());
    }
    Err(Error::Argument(format!(
        "the parts of a mini-batch of {n_cells} cells and {} genes do not fit together for {:?}: {:?} hidden values of {} \
         units, a wiring of {} genes, statistics {:?}",
        m.n_genes(),
        input.likelihood,
        input.hidden.dims(),
        wiring.n_hidden,
        wiring.n_genes,
        input.statistics,
    )))
}

/// Refuses counts of other genes than the wiring's.
pub(super) fn check_genes(n_genes: usize, wiring: &super::CudaWiring) -> CandleResult<()> {
    if n_genes != wiring.n_genes {
        bail!("counts of {n_genes} genes do not fit {}", wiring.n_genes);
    }
    Ok(())
}
