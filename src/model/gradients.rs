//! From a mini-batch's loss to the gradient of every parameter.

use candle_core::backprop::GradStore;
use candle_core::{Result as CandleResult, Tensor, Var};

use super::vae::{DROPOUT_BIAS, DROPOUT_WEIGHTS, LOG_THETA, SCALE_BIAS, SCALE_WEIGHTS};
use crate::kernels::{DecodeLossGradients, Workspace};
use crate::values::CpuValues;

/// The parts of a mini-batch's loss.
pub struct Loss {
    /// Negative log-likelihood, mean over cells of the sum over genes; a scalar.
    pub reconstruction: Tensor,
    /// KL divergence, mean over cells; a scalar.
    pub kl: Tensor,
}

/// Gradients of `reconstruction + kl_weight * kl` with respect to the model's parameters.
pub struct Gradients<'a> {
    propagated: GradStore,
    /// The decoder's last layer, whose gradients are found together with the loss.
    last_layer: &'a DecodeLossGradients,
}

impl Loss {
    /// `reconstruction + kl_weight * kl`, a scalar.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn total(&self, kl_weight: f64) -> CandleResult<Tensor> {
        &self.reconstruction + (&self.kl * kl_weight)?
    }

    /// Gradients of the total; `workspace` is the one that the loss was computed with, and no other loss since.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn gradients<'a>(
        &self,
        kl_weight: f64,
        workspace: &'a Workspace,
    ) -> CandleResult<Gradients<'a>> {
        Ok(Gradients {
            propagated: self.total(kl_weight)?.backward()?,
            last_layer: &workspace.gradients,
        })
    }
}

impl Gradients<'_> {
    /// The gradient of a parameter, by its name and handle; `None` if the loss does not depend on it.
    pub(crate) fn of(&self, name: &str, var: &Var) -> CandleResult<Option<CpuValues<'_>>> {
        let known = match name {
            SCALE_WEIGHTS => &self.last_layer.scale.weights,
            SCALE_BIAS => &self.last_layer.scale.bias,
            DROPOUT_WEIGHTS => &self.last_layer.dropout.weights,
            DROPOUT_BIAS => &self.last_layer.dropout.bias,
            LOG_THETA => &self.last_layer.log_theta,
            _ => return self.propagated.get(var).map(CpuValues::of).transpose(),
        };
        Ok(Some(CpuValues::Slice(known)))
    }

    /// A copy of the gradient of a parameter.
    ///
    /// # Errors
    /// For a device other than the CPU.
    pub fn to_vec(&self, name: &str, var: &Var) -> CandleResult<Option<Vec<f32>>> {
        Ok(self.of(name, var)?.map(|values| values.to_vec()))
    }
}
