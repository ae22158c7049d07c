//! Keeps the best model by validation loss, and says when to stop looking for a better one.

use crate::backend::Backend;
use crate::model::{Snapshot, Vae};
use crate::Result;

/// The best model so far.
#[derive(Debug, Clone)]
pub struct Best {
    /// Its validation loss.
    pub loss: f64,
    /// The epoch after which it was found.
    pub epoch: usize,
    /// The model.
    pub model: Snapshot,
}

/// Watches the validation loss.
#[derive(Debug, Clone, Default)]
pub struct EarlyStopping {
    /// Looks at the validation loss since the best model was found.
    pub checks_without_progress: usize,
    /// The best model so far.
    pub best: Option<Best>,
}

impl EarlyStopping {
    /// Takes the validation loss of an epoch into account. A loss that is no number is no progress.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn observe<B: Backend>(&mut self, epoch: usize, loss: f64, model: &Vae<B>) -> Result<()> {
        let best = self.best.as_ref().map_or(f64::INFINITY, |best| best.loss);
        if loss < best {
            self.checks_without_progress = 0;
            self.best = Some(Best {
                loss,
                epoch,
                model: model.snapshot()?,
            });
        } else {
            self.checks_without_progress += 1;
        }
        Ok(())
    }

    /// Puts the best model back and names its epoch.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn restore<B: Backend>(&self, model: &mut Vae<B>) -> Result<Option<usize>> {
        let Some(best) = &self.best else {
            return Ok(None);
        };
        model.restore(&best.model)?;
        Ok(Some(best.epoch))
    }
}
