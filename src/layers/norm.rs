//! Batch normalisation over the cells of a mini-batch, with scVI's constants.

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};

use crate::backend::{Backend, NormRule, NormTensors};

const RULE: NormRule = NormRule {
    epsilon: 1e-3,
    momentum: 0.01,
};

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

    /// Normalises cells x features by the mini-batch's own statistics, takes them into the running ones, and sends the
    /// result through ReLU and, if there are any, the factors of a dropout.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn train<B: Backend>(
        &self,
        backend: &B,
        x: &Tensor,
        factors: Option<Tensor>,
    ) -> CandleResult<Tensor> {
        backend.activate(x, self.tensors(), RULE, factors)
    }

    /// Normalises cells x features by the running statistics, then ReLU.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn apply<B: Backend>(&self, backend: &B, x: &Tensor) -> CandleResult<Tensor> {
        backend.apply_norm(x, self.tensors(), RULE)
    }

    fn tensors(&self) -> NormTensors<'_> {
        NormTensors {
            gamma: &self.gamma,
            beta: &self.beta,
            mean: &self.running_mean,
            variance: &self.running_var,
        }
    }
}
