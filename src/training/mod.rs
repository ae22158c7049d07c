//! Training: the optimiser, the loop, its record, and how it is watched and stopped.

mod adam;
mod alignment;
mod device;
mod early_stopping;
mod monitor;
mod threads;
mod trainer;

pub use adam::Adam;
pub use alignment::align;
pub use device::{device, devices};
pub use early_stopping::EarlyStopping;
pub use monitor::{Monitor, Silent};
pub use threads::with_threads;
pub use trainer::{check_batch_sizes, train, train_new_batches, Trained};
