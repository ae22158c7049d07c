//! The zero-inflated negative binomial: the negative binomial with extra zeros, in scVI's parameterisation.

// Several arrays are walked side by side; an index reads better there than nested pairs of iterators.
#![allow(clippy::needless_range_loop)]

use pulp::Simd;

use super::distribution::{CountDistribution, Zeros};
use super::nb::{self, negative_binomial, Nb};
use crate::kernels::log_probability::{LogProbability, Parameters};
use crate::kernels::math;
use crate::kernels::positive_counts::{Dispersion, Gathered, Scores, CAPACITY};
use crate::kernels::row::{Row, TILE};
use crate::kernels::special::{exp, ln_1p, logaddexp, sigmoid, softplus};
use crate::kernels::zero_tile::ZeroTile;

/// Zero-inflated negative binomial: with probability `sigmoid(dropout)` a zero, else a draw from
/// [`negative_binomial`].
pub fn zero_inflated(count: f64, log_mu: f64, dropout: f64, log_theta: f64) -> LogProbability {
    let nb = negative_binomial(count, log_mu, log_theta);
    if count > 0.0 {
        let inflation = inflate(dropout);
        return LogProbability {
            value: nb.value + inflation.value,
            d_dropout: inflation.d_dropout,
            ..nb
        };
    }
    // The zero is the distribution's own with probability `own`, else an extra one.
    let own = sigmoid(nb.value - dropout);
    let extra = sigmoid(dropout - nb.value);
    let kept = sigmoid(-dropout);
    let not_zero = one_minus_exp(nb.value);
    let value = if nb.value > -1.0 || dropout > 0.0 {
        ln_1p(-kept * not_zero)
    } else {
        logaddexp(dropout, nb.value) - softplus(dropout)
    };
    LogProbability {
        value,
        d_log_mu: own * nb.d_log_mu,
        d_dropout: extra * kept * not_zero,
        d_log_theta: own * nb.d_log_theta,
    }
}

/// `1 - exp(x)` for `x <= 0`, relatively accurate near zero.
fn one_minus_exp(x: f64) -> f64 {
    if x < -0.5 {
        return 1.0 - exp(x);
    }
    // Taylor series; the seventeenth term is below 1e-18 of the first.
    let mut sum = 1.0;
    for k in (2..=16).rev() {
        sum = 1.0 + sum * x / f64::from(k);
    }
    -x * sum
}

/// What zero inflation adds to the log-probability of a count above zero.
#[derive(Debug, Clone, Copy)]
struct Inflation {
    value: f64,
    d_dropout: f64,
}

/// Zero inflation of a count above zero.
#[inline(always)]
fn inflate(dropout: f64) -> Inflation {
    let z = exp(-dropout.abs());
    let large = 1.0 / (1.0 + z);
    let is_above = dropout > 0.0;
    Inflation {
        value: -(ln_1p(z) + if is_above { dropout } else { 0.0 }),
        d_dropout: -if is_above { large } else { z * large },
    }
}

pub(super) struct Zinb;

impl CountDistribution for Zinb {
    const HAS_DROPOUT: bool = true;
    const HAS_DISPERSION: bool = true;

    type Positive = Positive;

    fn log_probability(count: f64, parameters: &Parameters) -> LogProbability {
        let Parameters {
            log_mu,
            dropout,
            log_theta,
        } = *parameters;
        zero_inflated(count, log_mu, dropout, log_theta)
    }

    #[inline(always)]
    fn score_zeros<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile) {
        Nb::score_zeros(simd, zeros, tile);
        for (r, gene) in zeros.genes.iter().enumerate() {
            let Row(logits) = &tile.logits[r];
            let Row(log_probability) = &mut tile.log_probability[r];
            let Row(d_dropout) = &mut tile.d_dropout[r];
            let [Row(own), Row(kept)] = &mut tile.scratch[r];
            for i in 0..TILE {
                let zero = zero_inflate(simd, log_probability[i], logits[i]);
                log_probability[i] = zero.log_probability;
                d_dropout[i] = gene.per_cell * zero.d_dropout;
                own[i] = zero.own;
                kept[i] = zero.kept;
            }
        }
        for r in 0..zeros.genes.len() {
            let [Row(own), Row(kept)] = &tile.scratch[r];
            let Row(d_log_mu) = &mut tile.d_log_mu[r];
            let Row(d_log_theta) = &mut tile.d_log_theta[r];
            let Row(residual) = &mut tile.residual[r];
            for i in 0..TILE {
                d_log_mu[i] *= own[i];
                d_log_theta[i] *= own[i];
                residual[i] *= kept[i];
            }
        }
    }

    #[inline(always)]
    fn score_zeros_value<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile) {
        Nb::score_zeros_value(simd, zeros, tile);
        for r in 0..zeros.genes.len() {
            let Row(logits) = &tile.logits[r];
            let Row(log_probability) = &mut tile.log_probability[r];
            for i in 0..TILE {
                let zero = zero_inflate(simd, log_probability[i], logits[i]);
                log_probability[i] = zero.log_probability;
            }
        }
    }
}

pub(super) struct Positive {
    nb: nb::Positive,
    dropout: [f64; CAPACITY],
}

impl Gathered for Positive {
    #[inline(always)]
    fn new() -> Self {
        Positive {
            nb: nb::Positive::new(),
            dropout: [0.0; CAPACITY],
        }
    }

    #[inline(always)]
    fn turn_to(&mut self, gene: Dispersion) {
        self.nb.turn_to(gene);
    }

    #[inline(always)]
    fn set(&mut self, i: usize, count: f64, log_mu: f64, dropout: f64) {
        self.nb.set(i, count, log_mu, dropout);
        self.dropout[i] = dropout;
    }

    #[inline(always)]
    fn score(&self, n: usize, scores: &mut Scores) {
        self.nb.score(n, scores);
        let dropout = &self.dropout[..n];
        let value = &mut scores.value[..n];
        let d_dropout = &mut scores.d_dropout[..n];
        for i in 0..n {
            let zero_inflation = inflate(dropout[i]);
            value[i] += zero_inflation.value;
            d_dropout[i] = zero_inflation.d_dropout;
        }
    }
}

/// Zeros under the zero-inflated distribution: the formulae of [`zero_inflated`], in single precision.
struct ZeroInflated {
    log_probability: f32,
    /// Probability that the zero is the distribution's own.
    own: f32,
    d_dropout: f32,
    /// `1 - px_dropout`.
    kept: f32,
}

#[inline(always)]
fn zero_inflate<S: Simd>(simd: S, log_nb: f32, logit: f32) -> ZeroInflated {
    let gap = log_nb - logit;
    let z_logit = math::exp_neg_abs(simd, logit);
    let z_gap = math::exp_neg_abs(simd, gap);
    // One division for both logistic functions.
    let both = 1.0 / ((1.0 + z_logit) * (1.0 + z_gap));
    let kept = if logit > 0.0 { z_logit } else { 1.0 } * ((1.0 + z_gap) * both);
    let large = (1.0 + z_logit) * both;
    let small = z_gap * large;
    let (own, extra) = if gap > 0.0 {
        (large, small)
    } else {
        (small, large)
    };
    let positive = kept * math::one_minus_exp(simd, log_nb);
    // ln(1 - positive), or where that cancels logaddexp(logit, log_nb) - softplus(logit), whose logit is then below
    // zero; both by way of one inverse hyperbolic tangent.
    let near = positive < 0.5;
    let numerator = if near { -positive } else { z_gap - z_logit };
    let denominator = 2.0 + if near { -positive } else { z_gap + z_logit };
    let highest = if gap > 0.0 { log_nb } else { logit };
    let offset = if near { 0.0 } else { highest };
    ZeroInflated {
        log_probability: offset + math::twice_atanh(simd, numerator / denominator),
        own,
        d_dropout: extra * positive,
        kept,
    }
}
