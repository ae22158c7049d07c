//! From a mini-batch's loss to the gradient of every parameter.

use candle_core::backprop::GradStore;
use candle_core::{Result as CandleResult, Tensor, Var};

use super::vae::{
    offsets_name, DROPOUT_BIAS, DROPOUT_WEIGHTS, LOG_THETA, SCALE_BIAS, SCALE_OFFSETS,
    SCALE_WEIGHTS,
};
use super::Design;
use crate::kernels::{DecodeLossGradients, Workspace};
use crate::values::CpuValues;

/// The parts of a mini-batch's loss.
pub struct Loss {
    /// Negative log-likelihood, mean over cells of the sum over genes; a scalar.
    pub reconstruction: Tensor,
    /// KL divergence, mean over cells; a scalar.
    pub kl: Tensor,
    /// The batch of each segment it was computed for, if their biases differ.
    pub(super) of_segments: Option<(Vec<usize>, Design)>,
}

/// Gradients of `reconstruction + kl_weight * kl` with respect to the model's parameters.
pub struct Gradients<'a> {
    propagated: GradStore,
    /// The decoder's last layer, whose gradients are found together with the loss.
    last_layer: &'a DecodeLossGradients,
    /// Of the scale head's bias and of what the covariates' levels add to it.
    bias: ScaleBias,
}

/// Gradients of the scale head's bias, put together from those of each segment.
struct ScaleBias {
    shared: Vec<f32>,
    offsets: Vec<Vec<f32>>,
}

impl ScaleBias {
    /// `d_bias` is segments x genes if the batches' biases differ; `batches` are then the segments' batches.
    fn of(d_bias: &[f32], of_segments: Option<&(Vec<usize>, Design)>) -> Self {
        let Some((batches, design)) = of_segments else {
            return ScaleBias {
                shared: d_bias.to_vec(),
                offsets: Vec::new(),
            };
        };
        let n_genes = d_bias.len() / batches.len().max(1);
        let segments = || d_bias.chunks_exact(n_genes).zip(batches);
        let mut shared = vec![0.0; n_genes];
        for (of_segment, _) in segments() {
            for (sum, d) in shared.iter_mut().zip(of_segment) {
                *sum += d;
            }
        }
        let offsets = design.n_levels().iter().enumerate().map(|(covariate, &n)| {
            let levels = design.of_batches(covariate);
            let mut sums = vec![0.0; n_genes * n];
            for (of_segment, &batch) in segments() {
                let of_level = sums[levels[batch]..].iter_mut().step_by(n);
                for (sum, d) in of_level.zip(of_segment) {
                    *sum += d;
                }
            }
            sums
        });
        ScaleBias {
            offsets: offsets.collect(),
            shared,
        }
    }
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
        let last_layer = &workspace.gradients;
        Ok(Gradients {
            bias: ScaleBias::of(&last_layer.scale.bias, self.of_segments.as_ref()),
            propagated: self.total(kl_weight)?.backward()?,
            last_layer,
        })
    }
}

impl Gradients<'_> {
    /// The gradient of a parameter, by its name and handle; `None` if the loss does not depend on it.
    pub(crate) fn of(&self, name: &str, var: &Var) -> CandleResult<Option<CpuValues<'_>>> {
        let known = match name {
            SCALE_WEIGHTS => &self.last_layer.scale.weights,
            SCALE_BIAS => &self.bias.shared,
            DROPOUT_WEIGHTS => &self.last_layer.dropout.weights,
            DROPOUT_BIAS => &self.last_layer.dropout.bias,
            LOG_THETA => match &self.last_layer.log_theta {
                Some(log_theta) => log_theta,
                None => return Ok(None),
            },
            _ if name.starts_with(SCALE_OFFSETS) => {
                let mut named = self.bias.offsets.iter().enumerate();
                match named.find(|(covariate, _)| name == offsets_name(*covariate)) {
                    Some((_, offsets)) => offsets,
                    None => return Ok(None),
                }
            }
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
