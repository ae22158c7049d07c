//! Batch normalisation over the cells of a mini-batch, with scVI's constants.

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};

use crate::backend::{known_result, Backend};

/// Weight of the newest mini-batch in the running statistics.
const MOMENTUM: f64 = 0.01;
/// Added to the variance.
const EPSILON: f64 = 1e-3;

/// Normalises each feature over the cells (momentum 0.01, eps 1e-3, as scVI and TensorFlow).
#[derive(Debug)]
pub struct BatchNorm {
    /// Scale, one per feature.
    pub gamma: Var,
    /// Shift, one per feature.
    pub beta: Var,
    /// Mean used outside training.
    pub running_mean: Var,
    /// Variance used outside training.
    pub running_var: Var,
}

impl BatchNorm {
    /// Scale one, shift zero.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(n: usize, device: &Device) -> CandleResult<Self> {
        Ok(BatchNorm {
            gamma: Var::ones(n, DType::F32, device)?,
            beta: Var::zeros(n, DType::F32, device)?,
            running_mean: Var::zeros(n, DType::F32, device)?,
            running_var: Var::ones(n, DType::F32, device)?,
        })
    }

    /// Normalises cells x features by the mini-batch's own statistics and takes them into the running ones.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn train<B: Backend>(&self, backend: &B, x: &Tensor) -> CandleResult<Tensor> {
        let n = x.dim(0)? as f64;
        let unbiased = n / (n - 1.0).max(1.0);
        let (out, statistics) = backend.normalise(x, &self.gamma, &self.beta, EPSILON)?;
        blend(&self.running_mean, &statistics.mean)?;
        blend(&self.running_var, &(&statistics.variance * unbiased)?)?;
        let (backend, cells, gamma) = (backend.clone(), x.detach(), self.gamma.detach());
        known_result(&[x, &self.gamma, &self.beta], out, move |d_out| {
            let d_out = d_out.contiguous()?;
            let gradients =
                backend.normalise_backward(&cells, &gamma, &statistics, EPSILON, &d_out)?;
            Ok(gradients.to_vec())
        })
    }

    /// Normalises cells x features by the running statistics.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let sd = (self.running_var.as_tensor() + EPSILON)?.sqrt()?;
        x.broadcast_sub(&self.running_mean)?
            .broadcast_div(&sd)?
            .broadcast_mul(&self.gamma)?
            .broadcast_add(&self.beta)
    }
}

/// Takes the newest statistics, in double precision, into the running ones.
fn blend(running: &Var, new: &Tensor) -> CandleResult<()> {
    let new = (new.to_dtype(DType::F32)? * MOMENTUM)?;
    running.set(&((running.as_tensor() * (1.0 - MOMENTUM))? + new)?)
}
