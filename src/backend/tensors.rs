//! What the operations of a backend are given, and what they give back.

use candle_core::{DType, Result as CandleResult, Tensor, Var};

use super::Backend;
use crate::kernels::{GeneStatistic, Likelihood};

/// A parameter that Adam moves, as [`Backend::adam`] takes it.
#[derive(Debug, Clone, Copy)]
pub struct AdamUpdate<'a> {
    /// The parameter.
    pub parameter: &'a Tensor,
    /// Its gradient, or that of some of its rows.
    pub gradient: &'a Tensor,
    /// Which rows.
    pub rows: Option<&'a [usize]>,
    /// 2 x the parameter's shape.
    pub moments: &'a Tensor,
    /// Its weight decay.
    pub weight_decay: f32,
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

/// What the batches' own shares of the counts explain, to be taken off the sums of [`GeneStatistic::LogShare`].
#[derive(Debug, Clone, Copy)]
pub struct BeyondBatch<'a> {
    /// Logs of the genes' shares of each batch's counts, batches x genes, in double precision.
    pub log_shares: &'a Tensor,
    /// The batch of each segment.
    pub batches: &'a [usize],
    /// Where [`GeneStatistic::Count`] stands among the statistics.
    pub counts: usize,
    /// Where [`GeneStatistic::LogShare`] does.
    pub of_statistic: usize,
}

impl BeyondBatch<'_> {
    /// The sums of a segment, statistics x genes, with what is explained taken off.
    pub(super) fn take_off(&self, segment: usize, sums: &Tensor) -> CandleResult<Tensor> {
        let logs = self.log_shares.narrow(0, self.batches[segment], 1)?;
        let explained = (sums.narrow(0, self.counts, 1)? * logs)?;
        let beyond = (sums.narrow(0, self.of_statistic, 1)? - explained)?;
        let sums = sums.force_contiguous()?;
        sums.slice_set(&beyond, 0, self.of_statistic)?;
        Ok(sums)
    }
}

/// A loss with its gradients.
#[derive(Debug, Clone)]
pub struct CountLoss {
    /// A scalar, in nats per cell.
    pub value: Tensor,
    /// If asked for.
    pub gradients: Option<CountLossGradients>,
}

/// A fully connected layer.
#[derive(Debug, Clone, Copy)]
pub struct LinearVars<'a> {
    /// Outputs x inputs.
    pub weight: &'a Var,
    /// One per output.
    pub bias: &'a Var,
}

/// What a normalisation holds, one value per feature.
#[derive(Debug, Clone, Copy)]
pub struct NormTensors<'a> {
    /// Scale.
    pub gamma: &'a Var,
    /// Shift.
    pub beta: &'a Var,
    /// Running mean, to be moved.
    pub mean: &'a Var,
    /// Running variance, to be moved.
    pub variance: &'a Var,
}

/// The numbers of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormRule {
    /// Added to the variance.
    pub epsilon: f64,
    /// Weight of the newest mini-batch in the running statistics.
    pub momentum: f64,
}

/// Mean and variance of features over the cells of a mini-batch, in double precision.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// One per feature.
    pub mean: Tensor,
    /// One per feature, without Bessel's correction.
    pub variance: Tensor,
}

impl BatchStatistics {
    /// Takes the statistics of `n_cells` cells into the running ones, by the tensor library's operations.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn move_running(
        &self,
        norm: NormTensors,
        rule: NormRule,
        n_cells: usize,
    ) -> CandleResult<()> {
        let unbiased = n_cells as f64 / (n_cells as f64 - 1.0).max(1.0);
        let blend = |running: &Var, new: &Tensor| {
            let new = (new.to_dtype(DType::F32)? * rule.momentum)?;
            running.set(&((running.as_tensor() * (1.0 - rule.momentum))? + new)?)
        };
        blend(norm.mean, &self.mean)?;
        blend(norm.variance, &(&self.variance * unbiased)?)
    }
}
