//! The one seam for devices: what differs between a processor and a graphics card. Operations take and return tensors of
//! the device; where their numbers lie, nothing above this module knows.
//!
//! A device is supported when something implements [`Backend`] for it. [`Cpu`] does, with the kernels of
//! [`crate::kernels`]; `tests/backend.rs` has a second one made of the tensor library's dense operations.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod host_values;
mod known_result;
mod tensors;

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{DType, Device, Result as CandleResult, Shape, Tensor, Var};
use candle_nn::{Linear, Module};

use crate::counts::CountsView;
use crate::kernels::{Segment, Wiring};
use crate::sampling::{CellRows, DropoutDraw, MiniBatch};
use crate::Result;

pub use crate::kernels::AdamRule;
pub use cpu::Cpu;
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaCells, CudaCounts, CudaMiniBatch, CudaWiring, HeadProducts, Scratch};
pub use device::{
    allow_tf32, check_device, cuda_missing, cuda_versions, devices, on_device, DeviceInfo, OnDevice,
};
pub(crate) use known_result::{known_result, Recording};
pub use tensors::{
    AdamUpdate, BatchStatistics, BeyondBatch, CountLoss, CountLossGradients, CountLossInput,
    HeadGradients, HeadTensors, LinearVars, LossTensors, NormRule, NormTensors,
};

/// The passes over genes, and what else is done by hand, on one kind of device. All tensors are single precision unless
/// said otherwise, and lie on [`Backend::device`]. `weights` hold one value per slot of the wiring.
pub trait Backend: Clone + Debug + Send + Sync + 'static {
    /// What the device keeps of the counts of a view.
    type Counts: Send + Sync;
    /// Cells that make a mini-batch, and what of their counts has to be prepared on the host.
    type Cells: Clone + Debug + Send + Sync + CellRows + From<MiniBatch>;
    /// A mini-batch's counts, where the device reads them.
    type MiniBatch: Clone + Debug + Send + Sync;
    /// The connections, where the device reads them.
    type Wiring: Clone + Debug + Send + Sync;
    /// Memory that is kept from one loss to the next.
    type LossMemory: Default + Send;

    /// Where its tensors lie.
    fn device(&self) -> &Device;

    /// Brings a view's counts to the device, if that has room for them.
    ///
    /// # Errors
    /// When the device fails.
    fn counts(&self, view: &CountsView) -> CandleResult<Self::Counts>;

    /// Prepares cells of the view that `counts` are of. `groups` has, per batch, the cells to take; `depth` one factor per
    /// cell in the same order, applied to the encoder's input only. Cells with factors are for one training step, others for
    /// any number of passes.
    fn cells(
        &self,
        view: &CountsView,
        counts: &Self::Counts,
        groups: &[Vec<usize>],
        depth: Option<&[f32]>,
    ) -> Self::Cells;

    /// Brings a mini-batch to the device.
    ///
    /// # Errors
    /// When memory cannot be had.
    fn minibatch(&self, cells: Self::Cells) -> CandleResult<Self::MiniBatch>;

    /// Brings connections to the device.
    ///
    /// # Errors
    /// When memory cannot be had.
    fn wiring(&self, host: &Arc<Wiring>) -> CandleResult<Self::Wiring>;

    /// Values of connections, the last dimension of `old`, when connections change: each of the new ones has the value at
    /// its place of `from`, whole numbers of 32 bits; beyond the last of the old, those of `fresh` follow, for every row.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn carry(&self, old: &Tensor, from: &Tensor, fresh: &[f32]) -> CandleResult<Tensor> {
        let last = old.rank() - 1;
        if fresh.is_empty() {
            return old.index_select(from, last);
        }
        let of_all = Tensor::new(fresh, self.device())?
            .broadcast_as([&old.dims()[..last], &[fresh.len()]].concat())?;
        Tensor::cat(&[old, &of_all.contiguous()?], last)?.index_select(from, last)
    }

    /// First layer: `bias + input (M * W)`, cells x hidden units; `bias` has one value per hidden unit.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn encode(
        &self,
        minibatch: &Self::MiniBatch,
        wiring: &Self::Wiring,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor>;

    /// Gradient of the first layer's weights; `d_out` is cells x hidden units.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn encode_backward(
        &self,
        minibatch: &Self::MiniBatch,
        wiring: &Self::Wiring,
        d_out: &Tensor,
    ) -> CandleResult<Tensor>;

    /// First layer, for values that all cells of a batch share: `shift (M * W)`, batches x hidden units; `shift` is
    /// batches x genes, and `batches` names its rows.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn shift(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &Self::Wiring,
        weights: &Tensor,
    ) -> CandleResult<Tensor>;

    /// Gradient of the weights of [`Backend::shift`]; `d_out` is batches x hidden units.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn shift_backward(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &Self::Wiring,
        d_out: &Tensor,
    ) -> CandleResult<Tensor>;

    /// Last layer: `bias + (M * W) hidden`, genes x cells, of `hidden`, cells x hidden units. `bias` has one value per
    /// gene, or is segments x genes.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn decode(
        &self,
        hidden: &Tensor,
        segments: &[Segment],
        wiring: &Self::Wiring,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor>;

    /// Last layer and count loss in one: negative log-likelihood, summed over genes, mean over cells.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if shapes do not fit together.
    fn count_loss(
        &self,
        input: &CountLossInput<Self>,
        gradients: bool,
        memory: &mut Self::LossMemory,
    ) -> Result<CountLoss>;

    /// The genes' shares of each cell's counts: the softmax over genes of `logits`, genes x cells.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] without cells or genes.
    fn px_scale(&self, logits: &Tensor) -> Result<Tensor>;

    /// `ln(1 + factor * px_scale) - center` of `logits`, genes x cells; `center` is genes x 1.
    ///
    /// # Errors
    /// As [`Backend::px_scale`].
    fn log_px_scale(&self, logits: &Tensor, factor: f64, center: &Tensor) -> Result<Tensor> {
        let log = self.px_scale(logits)?.affine(factor, 1.0)?.log()?;
        Ok(log.broadcast_sub(center)?)
    }

    /// `gamma * (x - mean) / sd + beta` of cells x features, with the statistics of the cells themselves, which are taken
    /// into the running ones (with Bessel's correction of the variance).
    ///
    /// # Errors
    /// When shapes do not fit.
    fn normalise(
        &self,
        x: &Tensor,
        norm: NormTensors,
        rule: NormRule,
    ) -> CandleResult<(Tensor, BatchStatistics)>;

    /// The factors of a dropout, in this shape.
    ///
    /// # Errors
    /// When the shape does not fit.
    fn dropout(&self, draw: &DropoutDraw, shape: &Shape) -> CandleResult<Tensor> {
        Tensor::from_vec(draw.factors(), shape, self.device())
    }

    /// [`Backend::normalise`], then ReLU, then a factor for each value, if there are any, recorded for back-propagation.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn activate(
        &self,
        x: &Tensor,
        norm: NormTensors,
        rule: NormRule,
        factors: Option<Tensor>,
    ) -> CandleResult<Tensor> {
        let (out, statistics) = self.normalise(x, norm, rule)?;
        let (backend, cells, gamma) = (self.clone(), x.detach(), norm.gamma.detach());
        let inputs = [x, norm.gamma.as_tensor(), norm.beta.as_tensor()];
        let normalised = known_result(&inputs, out, move |d_out| {
            let d_out = d_out.contiguous()?;
            let gradients =
                backend.normalise_backward(&cells, &gamma, &statistics, rule.epsilon, &d_out)?;
            Ok(gradients.to_vec())
        })?;
        match factors {
            Some(factors) => normalised.relu()? * factors,
            None => normalised.relu(),
        }
    }

    /// A fully connected layer, `x weight^T + bias`, recorded for back-propagation.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn linear(&self, x: &Tensor, weight: &Var, bias: &Var) -> CandleResult<Tensor> {
        let (weight, bias) = (weight.as_tensor().clone(), bias.as_tensor().clone());
        Linear::new(weight, Some(bias)).forward(x)
    }

    /// A batchified module, `x + beta * TanhShrink(x weight^T + bias)`, with weight and bias of their own for each segment's
    /// rows, recorded for back-propagation.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn correct(
        &self,
        x: &Tensor,
        segments: &[Segment],
        layers: &[LinearVars],
        beta: f64,
    ) -> CandleResult<Tensor> {
        let corrected = segments.iter().zip(layers).map(|(segment, layer)| {
            let part = x.narrow(0, segment.rows.start, segment.rows.len())?;
            let g = self.linear(&part, layer.weight, layer.bias)?;
            &g - g.tanh()?
        });
        let corrected = corrected.collect::<CandleResult<Vec<_>>>()?;
        x + (Tensor::cat(&corrected, 0)? * beta)?
    }

    /// Normalisation by running statistics, then ReLU, recorded for back-propagation to `x`.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn apply_norm(&self, x: &Tensor, norm: NormTensors, rule: NormRule) -> CandleResult<Tensor> {
        let sd = (norm.variance.as_tensor() + rule.epsilon)?.sqrt()?;
        x.broadcast_sub(norm.mean)?
            .broadcast_div(&sd)?
            .broadcast_mul(norm.gamma)?
            .broadcast_add(norm.beta)?
            .relu()
    }

    /// Takes a row of `shift` off each row of `x`, that of its segment, recorded for back-propagation.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn take_off(&self, x: &Tensor, shift: &Tensor, segments: &[Segment]) -> CandleResult<Tensor> {
        let rows = segments.iter().enumerate();
        let rows: Vec<u32> = rows
            .flat_map(|(row, s)| std::iter::repeat_n(row as u32, s.rows.len()))
            .collect();
        let n_cells = rows.len();
        x - shift.index_select(&Tensor::from_vec(rows, n_cells, self.device())?, 0)?
    }

    /// A draw of z, `mean + sd * noise`, and its divergence from the standard normal, mean over cells, recorded for
    /// back-propagation. The variance is `exp(log_variance) + least`.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn draw(
        &self,
        mean: &Tensor,
        log_variance: &Tensor,
        least: f64,
        noise: &Tensor,
    ) -> CandleResult<(Tensor, Tensor)> {
        let variance = (log_variance.exp()? + least)?;
        let z = (mean + (variance.sqrt()? * noise)?)?;
        let terms = ((mean.sqr()? + &variance)? - (variance.log()? + 1.0)?)?;
        Ok((z, (terms.sum(1)? * 0.5)?.mean(0)?))
    }

    /// Gradients of `x`, `gamma` and `beta` of [`Backend::normalise`]; `epsilon` is the rule's.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn normalise_backward(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        statistics: &BatchStatistics,
        epsilon: f64,
        d_out: &Tensor,
    ) -> CandleResult<[Tensor; 3]>;

    /// Adds the sums of a mini-batch's segments, `new` (statistics x segments x genes), to those of their masks, in place:
    /// `sums` is masks x statistics x genes, in double precision, `masks` the mask of each segment.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn add_gene_sums(
        &self,
        sums: &Tensor,
        new: &Tensor,
        masks: &[usize],
        beyond: Option<BeyondBatch>,
    ) -> CandleResult<()> {
        let new = new.to_dtype(DType::F64)?;
        for (row, &mask) in masks.iter().enumerate() {
            let sum = sums.narrow(0, mask, 1)?.squeeze(0)?;
            let mut own = new.narrow(1, row, 1)?.squeeze(1)?;
            if let Some(beyond) = &beyond {
                own = beyond.take_off(row, &own)?;
            }
            sums.slice_set(&(sum + own)?.unsqueeze(0)?, 0, mask)?;
        }
        Ok(())
    }

    /// One step of Adam for several parameters, each with its own weight decay.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn adam_all(&self, updates: &[AdamUpdate], rule: AdamRule) -> CandleResult<()> {
        for of in updates {
            let rule = AdamRule {
                weight_decay: of.weight_decay,
                ..rule
            };
            self.adam(of.parameter, of.gradient, of.rows, of.moments, rule)?;
        }
        Ok(())
    }

    /// One step of Adam for a parameter, in place. `moments` is 2 x the parameter's shape: the mean of the gradients and
    /// of their squares. With `rows`, `gradient` is of these rows of a two-dimensional parameter only, and nothing else
    /// moves.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn adam(
        &self,
        parameter: &Tensor,
        gradient: &Tensor,
        rows: Option<&[usize]>,
        moments: &Tensor,
        rule: AdamRule,
    ) -> CandleResult<()>;
}
