//! The loss of a mini-batch, and from there to the gradient of every parameter.

use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{Result as CandleResult, Tensor, Var};

use super::{Decoder, TensorId};
use crate::backend::{CountLossGradients, Recording};
use crate::batches::Design;
use crate::kernels::Segment;

/// The parts of a mini-batch's loss.
pub struct Loss {
    /// Negative log-likelihood, mean over cells of the sum over genes; a scalar.
    pub reconstruction: Tensor,
    /// KL divergence, mean over cells; a scalar.
    pub kl: Tensor,
    /// The sums over cells that the criterion asks for, statistics x segments x genes; where gradients are wanted.
    pub gene_sums: Option<Tensor>,
    /// What came before on a card, of which the tensor library does not know.
    pub(super) recording: Recording,
    /// Of the decoder's last layer, whose gradients are found together with the loss.
    pub(super) last_layer: BTreeMap<TensorId, Gradient>,
}

/// The gradient of a parameter.
#[derive(Debug, Clone)]
pub enum Gradient {
    /// In the parameter's form.
    Whole(Tensor),
    /// Of some rows; that of all others is zero, and they are to be left as they are.
    Rows {
        /// Which rows.
        rows: Vec<usize>,
        /// Their gradients, rows x columns.
        values: Tensor,
    },
}

/// Gradients of `reconstruction + kl_weight * kl` with respect to the model's parameters.
pub struct Gradients {
    propagated: Propagated,
    last_layer: BTreeMap<TensorId, Gradient>,
}

/// Gradients by tensor.
enum Propagated {
    ByLibrary(GradStore),
    Recorded(HashMap<candle_core::TensorId, Tensor>),
}

impl Loss {
    /// `reconstruction + kl_weight * kl`, a scalar. What was computed on a card has gradients by [`Loss::gradients`] only.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn total(&self, kl_weight: f64) -> CandleResult<Tensor> {
        &self.reconstruction + (&self.kl * kl_weight)?
    }

    /// Gradients of the total.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn gradients(&self, kl_weight: f64) -> CandleResult<Gradients> {
        let propagated = if self.recording.is_empty() {
            Propagated::ByLibrary(self.total(kl_weight)?.backward()?)
        } else {
            let of_results = [(&self.reconstruction, 1.0), (&self.kl, kl_weight)];
            Propagated::Recorded(self.recording.back(&of_results)?)
        };
        Ok(Gradients {
            propagated,
            last_layer: self.last_layer.clone(),
        })
    }
}

impl Gradients {
    /// The gradient of a parameter; `None` if the loss does not depend on it.
    pub fn of(&self, id: TensorId, parameter: &Var) -> Option<Gradient> {
        match self.last_layer.get(&id) {
            Some(gradient) => Some(gradient.clone()),
            None => {
                let gradient = match &self.propagated {
                    Propagated::ByLibrary(found) => found.get(parameter),
                    Propagated::Recorded(found) => found.get(&parameter.as_tensor().id()),
                };
                gradient.cloned().map(Gradient::Whole)
            }
        }
    }
}

impl Gradient {
    /// In the form of a parameter of this shape.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn dense(&self, like: &Tensor) -> CandleResult<Tensor> {
        match self {
            Gradient::Whole(gradient) => Ok(gradient.clone()),
            Gradient::Rows { rows, values } => {
                let index: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
                let index = Tensor::from_vec(index, rows.len(), like.device())?;
                like.zeros_like()?.index_add(&index, values, 0)
            }
        }
    }
}

/// The gradients of the decoder's last layer by parameter: those of the scale head's bias, which differ from segment to
/// segment, are those of the bias that all share and of what the covariates' levels add to it.
pub(super) fn of_last_layer(
    found: CountLossGradients,
    decoder: &Decoder,
    segments: &[Segment],
    design: &Design,
) -> CandleResult<BTreeMap<TensorId, Gradient>> {
    let bias = &found.scale.bias;
    let mut of = BTreeMap::new();
    let shared = if decoder.offsets.is_empty() {
        bias.clone()
    } else {
        bias.sum(0)?
    };
    for covariate in 0..decoder.offsets.len() {
        let levels = segments.iter().map(|s| design.level(covariate, s.batch));
        let levels: Vec<usize> = levels.collect();
        of.insert(
            TensorId::ScaleOffsets(covariate),
            sum_by_level(bias, &levels)?,
        );
    }
    of.insert(TensorId::ScaleBias, Gradient::Whole(shared));
    of.insert(TensorId::ScaleWeights, Gradient::Whole(found.scale.weights));
    if let Some(dropout) = found.dropout {
        of.insert(TensorId::DropoutWeights, Gradient::Whole(dropout.weights));
        of.insert(TensorId::DropoutBias, Gradient::Whole(dropout.bias));
    }
    if let Some(log_theta) = found.log_theta {
        of.insert(TensorId::LogTheta, Gradient::Whole(log_theta));
    }
    Ok(of)
}

/// Adds up the segments that have the same level.
fn sum_by_level(of_segments: &Tensor, levels: &[usize]) -> CandleResult<Gradient> {
    let mut rows = levels.to_vec();
    rows.sort_unstable();
    rows.dedup();
    let place = |level: &usize| rows.partition_point(|row| row < level) as u32;
    let places: Vec<u32> = levels.iter().map(place).collect();
    let places = Tensor::from_vec(places, levels.len(), of_segments.device())?;
    let shape = (rows.len(), of_segments.dim(1)?);
    let zeros = Tensor::zeros(shape, of_segments.dtype(), of_segments.device())?;
    Ok(Gradient::Rows {
        values: zeros.index_add(&places, of_segments, 0)?,
        rows,
    })
}
