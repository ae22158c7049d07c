//! The batchified module: one small sub-module per batch, added to what passes through (paper, section 2.3).

use candle_core::{Device, Result as CandleResult, Tensor};

use super::Dense;
use crate::backend::{Backend, LinearVars};
use crate::kernels::Segment;
use crate::sampling::Streams;

/// `BM(x) = x + beta * g_b(x)`, `g_b` a fully connected layer with TanhShrink, chosen by each cell's batch: its level of
/// the covariate that the module is for.
#[derive(Debug)]
pub struct BatchModule {
    /// One layer per level.
    pub sub_modules: Vec<Dense>,
    /// Weight of the correction.
    pub beta: f64,
}

impl BatchModule {
    /// One sub-module per level; their streams are `layer`, `layer + 1`, and so on.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        n_hidden: usize,
        n_levels: usize,
        beta: f64,
        streams: Streams,
        layer: u32,
        device: &Device,
    ) -> CandleResult<Self> {
        let sub_modules = (0..n_levels)
            .map(|b| Dense::new(n_hidden, n_hidden, streams, layer + b as u32, device))
            .collect::<CandleResult<_>>()?;
        Ok(BatchModule { sub_modules, beta })
    }

    /// Corrects cells x hidden units; `level` is the sub-module of a batch.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward<B: Backend>(
        &self,
        backend: &B,
        x: &Tensor,
        segments: &[Segment],
        level: impl Fn(usize) -> usize,
    ) -> CandleResult<Tensor> {
        let of_segment = |segment: &Segment| {
            let Dense { weight, bias } = &self.sub_modules[level(segment.batch)];
            LinearVars { weight, bias }
        };
        let layers: Vec<LinearVars> = segments.iter().map(of_segment).collect();
        backend.correct(x, segments, &layers, self.beta)
    }
}
