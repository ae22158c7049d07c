//! The decoder's last layer and the count loss on candle's tensors.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result as CandleResult, Shape, Tensor};

use crate::kernels::{
    softmax_over_genes, Cpu, DecodeLossInput, GeneMajorCounts, Head, Kernels, Likelihood, Segment,
    Wiring, Workspace,
};
use crate::values::CpuValues;
use crate::{Error, Result};

/// Parameters of a sparsely connected head.
#[derive(Debug, Clone, Copy)]
pub struct HeadTensors<'a> {
    /// One weight per slot of the wiring.
    pub weights: &'a Tensor,
    /// One per gene; or, where it differs by segment, segments x genes.
    pub bias: &'a Tensor,
}

/// Parameters of the count distribution's last layer.
#[derive(Debug, Clone, Copy)]
pub struct LossTensors<'a> {
    /// The counts' distribution.
    pub likelihood: Likelihood,
    /// Gives the logits of `px_scale`.
    pub scale: HeadTensors<'a>,
    /// Gives the logits of `px_dropout`; `None` where the distribution has none.
    pub dropout: Option<HeadTensors<'a>>,
    /// Log of `px_r`, one per gene; `None` where the distribution has none.
    pub log_theta: Option<&'a Tensor>,
}

/// Counts to score.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The counts, by gene.
    pub counts: &'a GeneMajorCounts,
    /// Logarithms of the cells' total counts.
    pub log_library: &'a [f32],
    /// The cells of each batch: in order, without gaps, none empty.
    pub segments: &'a [Segment],
}

/// Scores a mini-batch's counts: negative log-likelihood, summed over genes, mean over cells; a scalar.
///
/// `hidden` (cells x hidden units) is what the heads read; all tensors are `f32` on the CPU. With `gradients` the loss
/// can be propagated back to `hidden`; the gradients of the parameters, which are complete at once, and the squared
/// errors are then in the workspace. They are those of the loss itself, not of a multiple of it.
///
/// # Errors
/// [`crate::Error::Argument`] if shapes do not fit together, [`crate::Error::Tensor`] for another device or number type.
pub fn decode_loss(
    hidden: &Tensor,
    parameters: LossTensors,
    wiring: &Wiring,
    target: Target,
    gradients: bool,
    workspace: &mut Workspace,
) -> Result<Tensor> {
    let shape = [target.log_library.len(), wiring.n_hidden];
    if hidden.dims() != shape {
        return Err(Error::Argument(format!(
            "hidden units of shape {:?} are given where cells x hidden units are {shape:?}",
            hidden.dims()
        )));
    }
    let scale = HeadValues::of(parameters.scale)?;
    let dropout = parameters.dropout.map(HeadValues::of).transpose()?;
    let log_theta = parameters.log_theta.map(CpuValues::of).transpose()?;
    let input = DecodeLossInput {
        likelihood: parameters.likelihood,
        hidden: &CpuValues::of(hidden)?,
        segments: target.segments,
        wiring,
        scale: scale.head(),
        dropout: dropout.as_ref().map(HeadValues::head),
        log_theta: log_theta.as_deref(),
        log_library: target.log_library,
        counts: target.counts,
    };
    let loss = Cpu.decode_loss(&input, gradients, workspace)? as f32;
    if !gradients {
        return Ok(Tensor::new(loss, hidden.device())?);
    }
    let d_hidden = workspace.gradients.hidden.clone();
    let d_hidden = Tensor::from_vec(d_hidden, hidden.shape(), hidden.device())?;
    Ok(hidden.apply_op1(KnownLoss { loss, d_hidden })?)
}

struct HeadValues<'a> {
    weights: CpuValues<'a>,
    bias: CpuValues<'a>,
    bias_by_segment: bool,
}

impl<'a> HeadValues<'a> {
    fn of(head: HeadTensors<'a>) -> CandleResult<Self> {
        Ok(HeadValues {
            weights: CpuValues::of(head.weights)?,
            bias: CpuValues::of(head.bias)?,
            bias_by_segment: head.bias.rank() == 2,
        })
    }

    fn head(&self) -> Head<'_> {
        Head {
            weights: &self.weights,
            bias: &self.bias,
            bias_by_segment: self.bias_by_segment,
        }
    }
}

/// A loss whose gradient was found together with it.
struct KnownLoss {
    loss: f32,
    d_hidden: Tensor,
}

impl CustomOp1 for KnownLoss {
    fn name(&self) -> &'static str {
        "decode-loss"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![self.loss]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, arriving: &Tensor) -> CandleResult<Option<Tensor>> {
        Ok(Some(self.d_hidden.broadcast_mul(arriving)?))
    }
}

/// The genes' shares of each cell's counts: the softmax over genes of `scale` (genes x cells, `f32` on the CPU).
///
/// # Errors
/// [`crate::Error::Argument`] without cells or genes, [`crate::Error::Tensor`] for another shape, device or number type.
pub fn px_scale(scale: &Tensor) -> Result<Tensor> {
    let (_, n_cells) = scale.dims2()?;
    let shares = softmax_over_genes(&CpuValues::of(scale)?, n_cells)?;
    Ok(Tensor::from_vec(shares, scale.shape(), &Device::Cpu)?)
}
