//! The fused loss as an operation with back-propagation.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Shape, Tensor};

use crate::kernels::{
    softmax_over_genes, CountLossInput, CountLossOutput, Cpu, GeneMajorCounts, Kernels,
};
use crate::{Error, Result};

/// A mini-batch's loss.
#[derive(Debug)]
pub struct CountLoss {
    /// Negative log-likelihood, summed over genes, mean over cells: a scalar that can be propagated back.
    pub loss: Tensor,
    /// Per segment and gene, the sum of `(x - E[x])^2` over the segment's cells. Empty without gradients.
    pub squared_error: Vec<Vec<f32>>,
}

/// Scores a mini-batch's counts.
///
/// `scale` (logits whose softmax over genes are the genes' shares) and `dropout` (logits of the extra zeros; `None` for
/// the negative binomial) are genes x cells, `log_theta` has one entry per gene; all `f32` on the CPU. `log_library`
/// holds the logarithms of the cells' total counts, `segments` the runs of cells (one per batch) whose squared errors
/// are wanted. With `gradients` the loss can be propagated back; without, only its value is computed.
///
/// # Errors
/// [`Error::Argument`] if shapes do not fit together, [`Error::Tensor`] for another device or number type.
pub fn count_loss(
    scale: &Tensor,
    dropout: Option<&Tensor>,
    log_theta: &Tensor,
    counts: Arc<GeneMajorCounts>,
    log_library: Vec<f32>,
    segments: Vec<Range<usize>>,
    gradients: bool,
) -> Result<CountLoss> {
    let (n_genes, n_cells) = (counts.n_genes(), counts.n_cells);
    let fits = scale.dims() == [n_genes, n_cells]
        && dropout.is_none_or(|d| d.dims() == [n_genes, n_cells])
        && log_theta.dims() == [n_genes]
        && log_library.len() == n_cells;
    if !fits {
        return Err(Error::Argument(format!(
            "counts of {n_genes} genes and {n_cells} cells do not fit share logits of shape {:?}, dropout logits of \
             shape {:?}, dispersions of shape {:?} and {} totals",
            scale.dims(),
            dropout.map(Tensor::dims),
            log_theta.dims(),
            log_library.len()
        )));
    }
    let results = Arc::new(OnceLock::new());
    let op = CountLossOp {
        counts,
        log_library,
        segments,
        gradients,
        results: Arc::clone(&results),
    };
    let scale = scale.contiguous()?;
    let log_theta = log_theta.contiguous()?;
    let loss = match (dropout, gradients) {
        (Some(d), true) => scale.apply_op3(&d.contiguous()?, &log_theta, op)?,
        (Some(d), false) => scale.apply_op3_no_bwd(&d.contiguous()?, &log_theta, &op)?,
        (None, true) => scale.apply_op2(&log_theta, op)?,
        (None, false) => scale.apply_op2_no_bwd(&log_theta, &op)?,
    };
    let squared_error = results
        .get()
        .map(|r: &Results| r.squared_error.clone())
        .unwrap_or_default();
    Ok(CountLoss {
        loss,
        squared_error,
    })
}

/// The genes' shares of each cell's counts: the softmax over genes of `scale` (genes x cells, `f32` on the CPU).
///
/// # Errors
/// [`Error::Argument`] without cells or genes, [`Error::Tensor`] for another shape, device or number type.
pub fn px_scale(scale: &Tensor) -> Result<Tensor> {
    let (_, n_cells) = scale.dims2()?;
    let scale = scale.contiguous()?;
    let shares = {
        let (storage, layout) = scale.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            return Err(Error::Tensor(candle_core::Error::Msg(
                "px_scale works on the CPU".into(),
            )));
        };
        softmax_over_genes(contiguous(storage, layout)?, n_cells)?
    };
    Ok(Tensor::from_vec(shares, scale.shape(), &Device::Cpu)?)
}

/// What the forward pass leaves for the backward pass and the caller.
struct Results {
    d_scale: Tensor,
    d_dropout: Option<Tensor>,
    d_log_theta: Tensor,
    squared_error: Vec<Vec<f32>>,
}

struct CountLossOp {
    counts: Arc<GeneMajorCounts>,
    log_library: Vec<f32>,
    segments: Vec<Range<usize>>,
    gradients: bool,
    results: Arc<OnceLock<Results>>,
}

impl CountLossOp {
    fn forward(
        &self,
        scale: &[f32],
        dropout: Option<&[f32]>,
        log_theta: &[f32],
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let input = CountLossInput {
            scale,
            dropout,
            log_theta,
            log_library: &self.log_library,
            counts: &self.counts,
            segments: &self.segments,
        };
        let output = Cpu
            .count_loss(&input, self.gradients)
            .map_err(candle_core::Error::wrap)?;
        let loss = output.loss as f32;
        if self.gradients {
            // A second forward pass of the same operation would give the same results, so the first may stay.
            let _ = self.results.set(self.results_of(output)?);
        }
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn results_of(&self, output: CountLossOutput) -> candle_core::Result<Results> {
        let shape = (self.counts.n_genes(), self.counts.n_cells);
        Ok(Results {
            d_scale: Tensor::from_vec(output.d_scale, shape, &Device::Cpu)?,
            d_dropout: output
                .d_dropout
                .map(|d| Tensor::from_vec(d, shape, &Device::Cpu))
                .transpose()?,
            d_log_theta: Tensor::from_vec(output.d_log_theta, shape.0, &Device::Cpu)?,
            squared_error: output.squared_error,
        })
    }

    fn results(&self) -> candle_core::Result<&Results> {
        self.results
            .get()
            .ok_or(candle_core::Error::BackwardNotSupported { op: NAME })
    }
}

const NAME: &str = "count-loss";

/// A gradient of the loss times the gradient that arrives; nearly always one, which spares a pass over it.
fn times(gradient: &Tensor, arriving: &Tensor) -> candle_core::Result<Tensor> {
    if arriving.to_scalar::<f32>()? == 1.0 {
        return Ok(gradient.clone());
    }
    gradient.broadcast_mul(arriving)
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: NAME }),
    }
}

impl CustomOp2 for CountLossOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        scale: &CpuStorage,
        scale_layout: &Layout,
        log_theta: &CpuStorage,
        log_theta_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward(
            contiguous(scale, scale_layout)?,
            None,
            contiguous(log_theta, log_theta_layout)?,
        )
    }

    fn bwd(
        &self,
        _scale: &Tensor,
        _log_theta: &Tensor,
        _loss: &Tensor,
        arriving: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let results = self.results()?;
        Ok((
            Some(times(&results.d_scale, arriving)?),
            Some(times(&results.d_log_theta, arriving)?),
        ))
    }
}

impl CustomOp3 for CountLossOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        scale: &CpuStorage,
        scale_layout: &Layout,
        dropout: &CpuStorage,
        dropout_layout: &Layout,
        log_theta: &CpuStorage,
        log_theta_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward(
            contiguous(scale, scale_layout)?,
            Some(contiguous(dropout, dropout_layout)?),
            contiguous(log_theta, log_theta_layout)?,
        )
    }

    fn bwd(
        &self,
        _scale: &Tensor,
        _dropout: &Tensor,
        _log_theta: &Tensor,
        _loss: &Tensor,
        arriving: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let results = self.results()?;
        let d_dropout = results.d_dropout.as_ref();
        Ok((
            Some(times(&results.d_scale, arriving)?),
            d_dropout.map(|d| times(d, arriving)).transpose()?,
            Some(times(&results.d_log_theta, arriving)?),
        ))
    }
}
