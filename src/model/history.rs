//! What training records, epoch by epoch.

use serde::{Deserialize, Serialize};

/// One epoch. Losses are per cell: means over the cells seen, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Reconstruction loss plus KL divergence (its weight not applied): the negative ELBO.
    pub elbo_train: f64,
    /// Negative log-likelihood.
    pub reconstruction_loss_train: f64,
    /// KL divergence.
    pub kl_local_train: f64,
    /// Weight of the KL term in this epoch.
    pub kl_weight: f64,
    /// As in training, on the validation cells; `None` where not looked at.
    pub elbo_validation: Option<f64>,
    /// As in training, on the validation cells.
    pub reconstruction_loss_validation: Option<f64>,
    /// As in training, on the validation cells.
    pub kl_local_validation: Option<f64>,
    /// Connections changed at the epoch's end, over all masks.
    pub connections_changed: usize,
    /// Seconds since training began.
    pub seconds: f64,
}

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// After the last epoch.
    Completed,
    /// The validation loss had stopped falling.
    EarlyStopping,
    /// Asked to stop; the model is as far as it came.
    Interrupted,
}

/// Record of a whole training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One record per finished epoch.
    pub epochs: Vec<EpochRecord>,
    /// How it ended.
    pub stopped: Stopped,
    /// With early stopping, the epoch whose model was kept.
    pub best_epoch: Option<usize>,
}
