//! What encoder and decoder have for each batch or level of a covariate.

use candle_core::{Device, Result as CandleResult, Tensor, Var};

use super::Settings;
use crate::batches::Design;
use crate::kernels::Segment;
use crate::layers::BatchModule;
use crate::sampling::Streams;

/// One batchified module per covariate.
pub(super) fn batch_modules(
    s: &Settings,
    design: &Design,
    streams: Streams,
    mut layer: u32,
    device: &Device,
) -> CandleResult<Vec<BatchModule>> {
    let mut modules = Vec::with_capacity(design.n_levels().len());
    for &n_levels in design.n_levels() {
        let n = s.n_hidden;
        modules.push(BatchModule::new(
            n, n_levels, s.beta, streams, layer, device,
        )?);
        layer += n_levels as u32;
    }
    Ok(modules)
}

/// The rows of a table for each segment; `row` is that of a batch.
pub(super) fn rows_of_segments(
    table: &Tensor,
    segments: &[Segment],
    row: impl Fn(usize) -> usize,
) -> CandleResult<Tensor> {
    let rows: Vec<u32> = segments.iter().map(|s| row(s.batch) as u32).collect();
    table.index_select(&Tensor::from_vec(rows, segments.len(), table.device())?, 0)
}

/// Sets the rows of a table from `first` on.
pub(super) fn set_rows(table: &Var, first: usize, rows: &[Vec<f64>]) -> CandleResult<()> {
    let values: Vec<f32> = rows.iter().flatten().map(|&x| x as f32).collect();
    let rows = Tensor::from_vec(values, (rows.len(), table.dim(1)?), table.device())?;
    table.slice_set(&rows, 0, first)
}
