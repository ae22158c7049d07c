//! The Poisson distribution: `ln P(x) = x ln mu - mu - ln x!`.

// Several arrays are walked side by side; an index reads better there than nested pairs of iterators.
#![allow(clippy::needless_range_loop)]

use pulp::Simd;

use super::distribution::{CountDistribution, Zeros};
use crate::kernels::log_probability::{LogProbability, Parameters};
use crate::kernels::math;
use crate::kernels::positive_counts::{Dispersion, Gathered, Scores, CAPACITY};
use crate::kernels::row::{Row, TILE};
use crate::kernels::special::{exp, ln_factorial};
use crate::kernels::zero_tile::ZeroTile;

/// Poisson with mean `exp(log_mu)` at a whole `count >= 0`.
pub fn poisson(count: f64, log_mu: f64) -> LogProbability {
    score(count, log_mu, ln_factorial(count))
}

#[inline(always)]
fn score(count: f64, log_mu: f64, ln_factorial: f64) -> LogProbability {
    let mu = exp(log_mu);
    LogProbability {
        value: count * log_mu - mu - ln_factorial,
        d_log_mu: count - mu,
        d_dropout: 0.0,
        d_log_theta: 0.0,
    }
}

pub(super) struct Poisson;

impl CountDistribution for Poisson {
    const HAS_DROPOUT: bool = false;
    const HAS_DISPERSION: bool = false;

    type Positive = Positive;

    fn log_probability(count: f64, parameters: &Parameters) -> LogProbability {
        poisson(count, parameters.log_mu)
    }

    #[inline(always)]
    fn score_zeros<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile) {
        for (r, (gene, Row(scale))) in std::iter::zip(zeros.genes, zeros.scale).enumerate() {
            let Row(log_probability) = &mut tile.log_probability[r];
            let Row(d_log_mu) = &mut tile.d_log_mu[r];
            let Row(residual) = &mut tile.residual[r];
            for i in 0..TILE {
                let mu = math::exp(simd, scale[i] + zeros.shift[i]);
                log_probability[i] = -mu;
                d_log_mu[i] = -gene.per_cell * mu;
                residual[i] = -mu;
            }
        }
    }

    #[inline(always)]
    fn score_zeros_value<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile) {
        for (r, Row(scale)) in zeros.scale.iter().enumerate() {
            let Row(log_probability) = &mut tile.log_probability[r];
            for i in 0..TILE {
                log_probability[i] = -math::exp(simd, scale[i] + zeros.shift[i]);
            }
        }
    }
}

pub(super) struct Positive {
    count: [f64; CAPACITY],
    log_mu: [f64; CAPACITY],
    ln_factorial: [f64; CAPACITY],
}

impl Gathered for Positive {
    #[inline(always)]
    fn new() -> Self {
        Positive {
            count: [1.0; CAPACITY],
            log_mu: [0.0; CAPACITY],
            ln_factorial: [0.0; CAPACITY],
        }
    }

    #[inline(always)]
    fn turn_to(&mut self, _: Dispersion) {}

    #[inline(always)]
    fn set(&mut self, i: usize, count: f64, log_mu: f64, _dropout: f64) {
        self.count[i] = count;
        self.log_mu[i] = log_mu;
        self.ln_factorial[i] = ln_factorial(count);
    }

    #[inline(always)]
    fn score(&self, n: usize, scores: &mut Scores) {
        let (count, log_mu) = (&self.count[..n], &self.log_mu[..n]);
        let ln_factorial = &self.ln_factorial[..n];
        let (value, d_log_mu) = (&mut scores.value[..n], &mut scores.d_log_mu[..n]);
        for i in 0..n {
            let entry = score(count[i], log_mu[i], ln_factorial[i]);
            value[i] = entry.value;
            d_log_mu[i] = entry.d_log_mu;
        }
    }
}
