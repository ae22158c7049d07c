//! Adam with L2 weight decay inside the gradient, as torch's `Adam` and so scVI's, but stronger for the weights of the heads:
//! of a gene with few counts the data say little, and its weights would learn the training cells by heart. Its state can be
//! kept and follows a layer whose connections change. Of a parameter whose gradient is known for some rows, only these
//! move, as with torch's `SparseAdam`; its moments are corrected for as if all of them had moved in every step, which makes
//! the first steps of a row that comes late, as of a batch that early mini-batches had no cell of, up to three times as long.

use std::collections::BTreeMap;

use candle_core::{DType, Result as CandleResult, Tensor, Var};

use crate::backend::{AdamRule, AdamUpdate, Backend};
use crate::layers::Moves;
use crate::model::{Gradient, Gradients, TensorId};

const BETAS: [f32; 2] = [0.9, 0.999];
/// Weight decay of all parameters but the weights of the heads, as scvi-tools has it.
const DECAY_OF_OTHERS: f64 = 1e-6;

/// The optimiser.
#[derive(Debug)]
pub struct Adam {
    lr: f64,
    eps: f64,
    weight_decay: f64,
    /// Steps taken.
    pub(super) steps: i32,
    /// Per parameter, 2 x its shape: the mean of the gradients and of their squares.
    pub(super) moments: BTreeMap<TensorId, Tensor>,
}

impl Adam {
    /// An optimiser without history. `weight_decay` is that of the heads' weights; other parameters have 1e-6, or this if it
    /// is less.
    pub fn new(lr: f64, eps: f64, weight_decay: f64) -> Self {
        Adam {
            lr,
            eps,
            weight_decay,
            steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn step<B: Backend>(
        &mut self,
        backend: &B,
        parameters: &[(TensorId, Var)],
        gradients: &Gradients,
    ) -> CandleResult<()> {
        self.steps += 1;
        let corrections = BETAS.map(|beta| 1.0 - f64::from(beta).powi(self.steps));
        let rule = AdamRule {
            betas: BETAS,
            step: (self.lr / corrections[0]) as f32,
            root_correction: corrections[1].sqrt() as f32,
            eps: self.eps as f32,
            weight_decay: self.weight_decay.min(DECAY_OF_OTHERS) as f32,
        };
        let found: Vec<_> = parameters
            .iter()
            .filter_map(|(id, parameter)| Some((id, parameter, gradients.of(*id, parameter)?)))
            .collect();
        for (id, parameter, _) in &found {
            if !self.moments.contains_key(id) {
                let shape = [&[2], parameter.dims()].concat();
                let zeros = Tensor::zeros(shape, DType::F32, backend.device())?;
                self.moments.insert(**id, zeros);
            }
        }
        let updates = found.iter().map(|(id, parameter, gradient)| {
            let (gradient, rows) = match gradient {
                Gradient::Whole(values) => (values, None),
                Gradient::Rows { rows, values } => (values, Some(&rows[..])),
            };
            AdamUpdate {
                parameter,
                gradient,
                rows,
                moments: &self.moments[id],
                weight_decay: match id.is_of_heads() {
                    true => self.weight_decay as f32,
                    false => rule.weight_decay,
                },
            }
        });
        backend.adam_all(&updates.collect::<Vec<_>>(), rule)
    }

    /// Follows the parameters whose values moved with the connections: moments go with the connections that stay, new
    /// ones start at zero.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn rewire<B: Backend>(&mut self, backend: &B, moves: &Moves) -> CandleResult<()> {
        let all = self.moments.iter_mut().filter(|(id, _)| id.is_sparse());
        for (_, moments) in all {
            *moments = moves.carry(backend, moments, None)?;
        }
        Ok(())
    }
}
