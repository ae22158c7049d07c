//! What a count distribution is made of.

use pulp::Simd;

use crate::kernels::log_probability::{LogProbability, Parameters};
use crate::kernels::positive_counts::Gathered;
use crate::kernels::row::{Row, TILE};
use crate::kernels::zero_tile::{Gene, ZeroTile};

/// A distribution of counts, as the fused loss needs it: nearly every count is zero, so that all are first scored as
/// zeros, in single precision and vector instructions, before positive ones replace what was put there, in double
/// precision.
pub(in crate::kernels) trait CountDistribution: 'static {
    /// Whether extra zeros are mixed in, whose logits a head of the decoder gives.
    const HAS_DROPOUT: bool;
    /// Whether every gene has a dispersion.
    const HAS_DISPERSION: bool;

    /// Positive counts with what their probabilities are worked out from.
    type Positive: Gathered;

    /// The closed form for one count, zero or not: the yardstick of the other two.
    fn log_probability(count: f64, parameters: &Parameters) -> LogProbability;

    /// Scores zeros: writes `log_probability` and `residual`, and those of the derivatives that the distribution has.
    fn score_zeros<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile);

    /// The same without derivatives: writes `log_probability` only, to the same bits.
    fn score_zeros_value<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile);
}

/// Entries of some genes in a tile's cells, taken as zeros; `scale` and `shift` add up to the logarithms of the means.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Zeros<'a> {
    /// Logits of the shares, a row per gene.
    pub(in crate::kernels) scale: &'a [Row],
    /// Per cell.
    pub(in crate::kernels) shift: &'a [f32; TILE],
    pub(in crate::kernels) genes: &'a [Gene],
}
