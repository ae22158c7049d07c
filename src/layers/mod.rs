//! Layers: sparsely connected (mask, adjustment, compact form, operation), batchified, fully connected, normalising.

mod adjustment;
mod batch_module;
mod criterion;
mod dense;
mod mask;
mod norm;
mod sparse;
mod wiring;

pub use adjustment::{
    adjust, Adjustment, AdjustmentRules, AtRandom, BoundedMask, ByNeed, ByWeight, Changes,
};
pub use batch_module::BatchModule;
pub use criterion::{
    Criterion, CriterionName, ExplainedDeviance, GeneSums, LogSquaredError, RateDispersion,
    RelativeError, SquaredError,
};
pub use dense::Dense;
pub use mask::ConnectionMask;
pub use norm::BatchNorm;
pub use sparse::{sparse_encode, sparse_shift};
pub use wiring::{connections_of_genes, unwire, wire, Inheritance, Moves, StartingWeights};
