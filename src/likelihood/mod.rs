//! Count distributions: how a model's output is scored against the counts.
//!
//! The numerical work is in [`crate::kernels`]; here it becomes an operation of the tensor library.

mod op;

pub use crate::kernels::{
    negative_binomial, poisson, zero_inflated, Likelihood, LogProbability, Parameters,
};
pub use op::{decode_loss, px_scale, HeadTensors, LossTensors, Target};
