//! How training talks to whoever started it.

use crate::model::EpochRecord;

/// Where training reports to and learns that it should stop. Called from the training thread.
pub trait Monitor: Sync {
    /// Asked before every mini-batch; true ends training with the model as it is.
    fn should_stop(&self) -> bool {
        false
    }

    /// Called after every epoch.
    fn epoch_done(&self, _record: &EpochRecord, _max_epochs: usize) {}
}

/// Listens to nothing and never stops.
pub struct Silent;

impl Monitor for Silent {}
