//! Keeps the best model by validation loss, and says when to stop looking for a better one.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::kernels::Wiring;
use crate::model::Vae;
use crate::Result;

/// The best model so far.
struct Best {
    loss: f64,
    epoch: usize,
    wiring: Arc<Wiring>,
    tensors: HashMap<String, Tensor>,
}

/// Watches the validation loss.
pub struct EarlyStopping {
    patience: usize,
    checks_without_progress: usize,
    best: Option<Best>,
}

impl EarlyStopping {
    /// Stops after `patience` looks without progress.
    pub fn new(patience: usize) -> Self {
        EarlyStopping {
            patience,
            checks_without_progress: 0,
            best: None,
        }
    }

    /// Takes the validation loss of an epoch into account; true when training should stop.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn observe(&mut self, epoch: usize, loss: f64, model: &Vae) -> Result<bool> {
        if self.best.as_ref().is_none_or(|best| loss < best.loss) {
            self.checks_without_progress = 0;
            self.best = Some(Best {
                loss,
                epoch,
                wiring: model.wiring.clone(),
                tensors: model.tensors()?.into_iter().collect(),
            });
        } else {
            self.checks_without_progress += 1;
        }
        Ok(self.checks_without_progress >= self.patience)
    }

    /// Puts the best model back and names its epoch.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn restore(self, model: &mut Vae) -> Result<Option<usize>> {
        let Some(best) = self.best else {
            return Ok(None);
        };
        model.restore(best.wiring, &best.tensors)?;
        Ok(Some(best.epoch))
    }
}
