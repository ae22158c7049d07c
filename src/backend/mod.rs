//! The one seam for devices: what differs between a processor and a graphics card. Operations take and return tensors of
//! the device; where their numbers lie, nothing above this module knows.
//!
//! A device is supported when something implements [`Backend`] for it. [`Cpu`] does, with the kernels of
//! [`crate::kernels`]; `tests/backend.rs` has a second one made of the tensor library's dense operations.

mod cpu;
mod device;
mod host_values;
mod known_result;

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor};

use crate::kernels::{GeneStatistic, Likelihood, Segment, Wiring};
use crate::sampling::MiniBatch;
use crate::Result;

pub use crate::kernels::AdamRule;
pub use cpu::Cpu;
pub use device::{check_device, devices};
pub(crate) use known_result::known_result;

/// The passes over genes, and what else is done by hand, on one kind of device. All tensors are single precision unless
/// said otherwise, and lie on [`Backend::device`]. `weights` hold one value per slot of the wiring.
pub trait Backend: Clone + Debug + Send + Sync + 'static {
    /// A mini-batch's counts, where the device reads them.
    type MiniBatch: Clone + Debug + Send + Sync;
    /// The connections, where the device reads them.
    type Wiring: Clone + Debug + Send + Sync;
    /// Memory that is kept from one loss to the next.
    type LossMemory: Default + Send;

    /// Where its tensors lie.
    fn device(&self) -> &Device;

    /// Brings a mini-batch to the device.
    ///
    /// # Errors
    /// When memory cannot be had.
    fn minibatch(&self, host: MiniBatch) -> CandleResult<Self::MiniBatch>;

    /// Brings connections to the device.
    ///
    /// # Errors
    /// When memory cannot be had.
    fn wiring(&self, host: &Arc<Wiring>) -> CandleResult<Self::Wiring>;

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

    /// `gamma * (x - mean) / sd + beta` of cells x features, with the statistics of the cells themselves; `epsilon` is
    /// added to the variance.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn normalise(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        epsilon: f64,
    ) -> CandleResult<(Tensor, BatchStatistics)>;

    /// Gradients of `x`, `gamma` and `beta` of [`Backend::normalise`].
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

/// Parameters of a sparsely connected head.
#[derive(Debug, Clone, Copy)]
pub struct HeadTensors<'a> {
    /// One weight per slot of the wiring.
    pub weights: &'a Tensor,
    /// One per gene, or segments x genes.
    pub bias: &'a Tensor,
}

/// Parameters of the count distribution's last layer.
#[derive(Debug, Clone, Copy)]
pub struct LossTensors<'a> {
    /// Gives the logits of `px_scale`.
    pub scale: HeadTensors<'a>,
    /// Gives the logits of `px_dropout`; `None` for distributions without extra zeros.
    pub dropout: Option<HeadTensors<'a>>,
    /// Log of `px_r`, one per gene; `None` for distributions without a dispersion.
    pub log_theta: Option<&'a Tensor>,
}

/// What the loss is computed from.
pub struct CountLossInput<'a, B: Backend> {
    /// How counts are distributed.
    pub likelihood: Likelihood,
    /// The counts to explain.
    pub minibatch: &'a B::MiniBatch,
    /// The connections of both heads.
    pub wiring: &'a B::Wiring,
    /// The last hidden layer, cells x hidden units.
    pub hidden: &'a Tensor,
    /// The heads.
    pub parameters: LossTensors<'a>,
    /// What is to be summed over the cells of each segment, with the gradients.
    pub statistics: &'a [GeneStatistic],
}

/// Gradients of a head's parameters, in the parameters' form.
#[derive(Debug, Clone)]
pub struct HeadGradients {
    /// One per slot of the wiring.
    pub weights: Tensor,
    /// In the form of the bias.
    pub bias: Tensor,
}

/// Gradients of the loss, and what else falls off on the way.
#[derive(Debug, Clone)]
pub struct CountLossGradients {
    /// With respect to `hidden`.
    pub hidden: Tensor,
    /// With respect to the scale head.
    pub scale: HeadGradients,
    /// With respect to the dropout head.
    pub dropout: Option<HeadGradients>,
    /// With respect to `log_theta`.
    pub log_theta: Option<Tensor>,
    /// Statistics x segments x genes.
    pub gene_sums: Tensor,
}

/// A loss with its gradients.
#[derive(Debug, Clone)]
pub struct CountLoss {
    /// A scalar, in nats per cell.
    pub value: Tensor,
    /// If asked for.
    pub gradients: Option<CountLossGradients>,
}

/// Mean and variance of features over the cells of a mini-batch, in double precision.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// One per feature.
    pub mean: Tensor,
    /// One per feature, without Bessel's correction.
    pub variance: Tensor,
}
