//! Training: the optimiser, the state that it advances, the loop, and how it is watched and stopped.

mod adam;
mod early_stopping;
mod monitor;
mod side_by_side;
mod state;
mod threads;
mod train;
mod trainer;

pub use adam::Adam;
pub use early_stopping::{Best, EarlyStopping};
pub use monitor::{Monitor, Silent};
pub use side_by_side::side_by_side;
pub use state::{Standing, StateParts, TrainState};
pub use threads::with_threads;
pub use train::{check_batch_sizes, train, train_new_batches, Training, TrainingCells};
pub use trainer::{Saver, Trained};
