//! Count distributions: how a model's output is scored against the counts.
//!
//! The numerical work is in [`crate::kernels`]; here it becomes an operation of the tensor library.

mod op;

use serde::{Deserialize, Serialize};

pub use crate::kernels::closed_form::{negative_binomial, zero_inflated, LogProbability};
pub use op::{decode_loss, px_scale, HeadTensors, LossTensors, Target};

/// The distribution of a count, given its mean and dispersion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Likelihood {
    /// Zero-inflated negative binomial: a negative binomial with extra zeros.
    #[default]
    Zinb,
    /// Negative binomial.
    Nb,
}
