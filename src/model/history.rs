//! What training records, epoch by epoch.

use serde::{Deserialize, Serialize};

/// Numbers in an epoch's record.
pub(crate) const N_COLUMNS: usize = 9;

/// One epoch. Losses are per cell: means over the cells seen, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// Seconds since training began; not saved with the model, so that the same training gives the same file.
    pub seconds: Option<f64>,
}

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// After the last epoch.
    #[default]
    Completed,
    /// The validation loss had stopped falling.
    EarlyStopping,
    /// Asked to stop; the model is as far as it came.
    Interrupted,
    /// Losses or parameters were no longer numbers; the model is that of the last epoch before.
    Diverged,
}

/// Record of a whole training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// One record per finished epoch.
    pub epochs: Vec<EpochRecord>,
    /// How it ended.
    pub stopped: Stopped,
    /// With early stopping, the epoch whose model was kept.
    pub best_epoch: Option<usize>,
    /// Connections of every gene, those that the first epoch was trained with and so on: the mean over the masks, to the
    /// nearest whole number. One epoch more than `epochs` has where the last was not finished; empty where connections are
    /// never adjusted, or where a part of the record is lost.
    pub connections: Vec<Vec<u16>>,
}

impl History {
    /// Adds the connections that the next epoch is trained with, unless what came before is lost.
    pub(crate) fn add_connections(&mut self, of_genes: Vec<u16>) {
        if self.connections.len() == self.epochs.len() {
            self.connections.push(of_genes);
        }
    }
}

impl EpochRecord {
    /// The record as numbers; not a number where it has none.
    pub(crate) fn to_row(self) -> [f64; N_COLUMNS] {
        // One and the same: those that computations give differ in bits, which would get lost on the way back.
        let or_nan = |x: Option<f64>| x.filter(|x| !x.is_nan()).unwrap_or(f64::NAN);
        [
            self.epoch as f64,
            self.elbo_train,
            self.reconstruction_loss_train,
            self.kl_local_train,
            self.kl_weight,
            or_nan(self.elbo_validation),
            or_nan(self.reconstruction_loss_validation),
            or_nan(self.kl_local_validation),
            self.connections_changed as f64,
        ]
    }

    /// The record that [`EpochRecord::to_row`] wrote.
    pub(crate) fn from_row(row: [f64; N_COLUMNS]) -> Self {
        let known = |x: f64| (!x.is_nan()).then_some(x);
        EpochRecord {
            epoch: row[0] as usize,
            elbo_train: row[1],
            reconstruction_loss_train: row[2],
            kl_local_train: row[3],
            kl_weight: row[4],
            elbo_validation: known(row[5]),
            reconstruction_loss_validation: known(row[6]),
            kl_local_validation: known(row[7]),
            connections_changed: row[8] as usize,
            seconds: None,
        }
    }
}
