//! The softmax over genes of logits, genes x cells.

use candle_core::{Result as CandleResult, Tensor};

use super::arguments::{AddBias, Address, Bias, LogSum, Shares};
use super::card::{Card, Grid};
use super::rows::DeviceRows;
use super::scratch::Scratch;

/// Genes of a part, as in `softmax.cu`.
const GENES_OF_PART: usize = 64;
const THREADS: usize = 128;
/// Most blocks side by side in the second direction of a grid.
const MOST_BLOCKS: usize = 65_535;

/// What the softmax of each cell needs.
pub(super) struct LogSums {
    /// Minus the logarithm of the sum of exponentials.
    pub(super) negative: Address,
    /// Log library minus the logarithm of the sum, in double precision; of use with a log library only.
    pub(super) shift: Address,
}

/// Logits that are summed over their first `n_genes` rows.
pub(super) struct Summed<'a> {
    pub(super) logits: &'a Tensor,
    pub(super) n_genes: usize,
    pub(super) rows: &'a DeviceRows,
    /// Added first, if its values are there.
    pub(super) bias: Bias,
    pub(super) log_library: Option<&'a Tensor>,
}

/// The sums, in the memory of `scratch`.
pub(super) fn log_sums(card: &Card, of: &Summed, scratch: &mut Scratch) -> CandleResult<LogSums> {
    let (n_genes, n_cells) = (of.n_genes, of.logits.dim(1)?);
    let n_parts = n_genes.div_ceil(GENES_OF_PART);
    let parts = (n_parts, n_cells);
    let logits = card.lend::<f32>(of.logits)?;
    let log_library = of.log_library.map(|l| card.lend_exactly(l, n_cells));
    let log_library = log_library.transpose()?;
    let found = LogSums {
        negative: scratch.table::<f32>(card, "negative log sum", n_cells)?,
        shift: scratch.table::<f64>(card, "shift", n_cells)?,
    };
    let arguments = LogSum {
        logits: logits.at,
        bias: of.bias,
        rows: of.rows.arguments(),
        n_genes: n_genes as i32,
        n_parts: n_parts as i32,
        highest: scratch.table::<f32>(card, "highest logits", parts)?,
        sum_exp: scratch.table::<f32>(card, "sums of exponentials", parts)?,
        log_library: log_library.as_ref().map_or(Address::default(), |l| l.at),
        negative_log_sum: found.negative,
        shift: log_library
            .as_ref()
            .map_or(Address::default(), |_| found.shift),
    };
    let grid = Grid::new((n_cells.div_ceil(THREADS), n_parts), THREADS as u32);
    card.launch("log_sum_of_parts", grid, &arguments)?;
    card.launch(
        "log_sum",
        Grid::new((n_cells.div_ceil(8), 1), 256),
        &arguments,
    )?;
    Ok(found)
}

/// The shares, or with a factor and a center `ln(1 + factor * share) - center`.
pub(super) fn shares(
    card: &Card,
    logits: &Tensor,
    log: Option<(f64, &Tensor)>,
) -> CandleResult<Tensor> {
    let (n_genes, n_cells) = logits.dims2()?;
    let rows = DeviceRows::new(card, &[], &[])?.of_cells(n_cells);
    let mut scratch = Scratch::default();
    let summed = Summed {
        logits,
        n_genes,
        rows: &rows,
        bias: Bias::default(),
        log_library: None,
    };
    let sums = log_sums(card, &summed, &mut scratch)?;
    let out = card.fresh::<f32>((n_genes, n_cells))?;
    let logits = card.lend::<f32>(logits)?;
    let center = log.map(|(_, center)| card.lend_exactly(center, n_genes));
    let center = center.transpose()?;
    let arguments = Shares {
        logits: logits.at,
        negative_log_sum: sums.negative,
        center: center.as_ref().map_or(Address::default(), |c| c.at),
        factor: log.map_or(1.0, |(factor, _)| factor as f32),
        n_genes: n_genes as i32,
        n_cells: n_cells as i32,
        out: card.lend::<f32>(&out)?.at,
    };
    card.launch("shares", by_gene(n_genes, n_cells), &arguments)?;
    Ok(out)
}

/// The first `n_genes` rows of logits, with their bias.
pub(super) fn add_bias(
    card: &Card,
    logits: &Tensor,
    n_genes: usize,
    rows: &DeviceRows,
    bias: Bias,
) -> CandleResult<Tensor> {
    let n_cells = logits.dim(1)?;
    let out = card.fresh::<f32>((n_genes, n_cells))?;
    let logits = card.lend::<f32>(logits)?;
    let arguments = AddBias {
        logits: logits.at,
        bias,
        rows: rows.arguments(),
        n_genes: n_genes as i32,
        out: card.lend::<f32>(&out)?.at,
    };
    card.launch("add_bias", by_gene(n_genes, n_cells), &arguments)?;
    Ok(out)
}

fn by_gene(n_genes: usize, n_cells: usize) -> Grid {
    let blocks = (n_cells.div_ceil(THREADS), n_genes.min(MOST_BLOCKS));
    Grid::new(blocks, THREADS as u32)
}
