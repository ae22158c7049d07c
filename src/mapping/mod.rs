//! Batches that come later: what is remembered of a model's cells, and how cells of a new batch are set against it.

mod alignment;
mod cell_groups;
mod extend;
mod map;
mod similarity;

pub use alignment::align;
pub use cell_groups::CellGroups;
pub use extend::with_new_batches;
pub use map::{map_batches, remember};
