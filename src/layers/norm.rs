//! Batch normalisation over the cells of a mini-batch, with scVI's constants.

use candle_core::{Result as CandleResult, Tensor, Var};

/// Weight of the newest mini-batch in the running statistics.
const MOMENTUM: f64 = 0.01;
/// Added to the variance.
const EPSILON: f64 = 1e-3;

/// Normalises each feature over the cells (momentum 0.01, eps 1e-3, as scVI and TensorFlow).
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Scale, one per feature.
    pub gamma: Var,
    /// Shift, one per feature.
    pub beta: Var,
    /// Mean used outside training.
    pub running_mean: Tensor,
    /// Variance used outside training.
    pub running_var: Tensor,
}

impl BatchNorm {
    /// Scale one, shift zero.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(n: usize, device: &candle_core::Device) -> CandleResult<Self> {
        Ok(BatchNorm {
            gamma: Var::ones(n, candle_core::DType::F32, device)?,
            beta: Var::zeros(n, candle_core::DType::F32, device)?,
            running_mean: Tensor::zeros(n, candle_core::DType::F32, device)?,
            running_var: Tensor::ones(n, candle_core::DType::F32, device)?,
        })
    }

    /// Normalises cells x features by the mini-batch's own statistics and takes them into the running ones.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn train(&mut self, x: &Tensor) -> CandleResult<Tensor> {
        let n = x.dim(0)? as f64;
        let mean = x.mean_keepdim(0)?;
        let centred = x.broadcast_sub(&mean)?;
        let var = centred.sqr()?.mean_keepdim(0)?;
        let unbiased = (var.detach().squeeze(0)? * (n / (n - 1.0).max(1.0)))?;
        self.running_mean = blend(&self.running_mean, &mean.detach().squeeze(0)?)?;
        self.running_var = blend(&self.running_var, &unbiased)?;
        self.finish(&centred, &var)
    }

    /// Normalises cells x features by the running statistics.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let centred = x.broadcast_sub(&self.running_mean)?;
        self.finish(&centred, &self.running_var.unsqueeze(0)?)
    }

    fn finish(&self, centred: &Tensor, var: &Tensor) -> CandleResult<Tensor> {
        let sd = (var + EPSILON)?.sqrt()?;
        centred
            .broadcast_div(&sd)?
            .broadcast_mul(&self.gamma)?
            .broadcast_add(&self.beta)
    }
}

fn blend(old: &Tensor, new: &Tensor) -> CandleResult<Tensor> {
    (old * (1.0 - MOMENTUM))? + (new * MOMENTUM)?
}
