//! The negative binomial. Its closed form for one count, in double precision, is the yardstick of the fused loss, which
//! also uses it for every count above zero.
//!
//! It is written in the logarithms of the mean and of the dispersion. With `a = ln mu`, `t = ln theta`:
//!
//! `ln NB(x) = ln_coefficient(theta, x) - theta softplus(a - t) - x softplus(t - a)`
//!
//! This is scVI's parameterisation (Lopez et al. 2018, <https://doi.org/10.1038/s41592-018-0229-2>), without its small
//! constants.

// Several arrays are walked side by side; an index reads better there than nested pairs of iterators.
#![allow(clippy::needless_range_loop)]

use pulp::Simd;

use super::distribution::{CountDistribution, Zeros};
use crate::kernels::log_probability::{LogProbability, Parameters};
use crate::kernels::math;
use crate::kernels::positive_counts::{Dispersion, Gathered, Scores, CAPACITY};
use crate::kernels::row::{Row, TILE};
use crate::kernels::special::{
    excess, exp, gamma_differences, ln, ln_1p, sigmoid, softplus, softplus_excess,
    GammaDifferences, DIRECT_BELOW,
};
use crate::kernels::zero_tile::ZeroTile;

/// Negative binomial with mean `exp(log_mu)` and inverse dispersion `exp(log_theta)` (variance
/// `mu + mu^2 / theta`) at a whole `count >= 0`.
///
/// ```
/// use scvae::kernels::negative_binomial;
///
/// let (mean, theta) = (3.0f64, 2.0f64);
/// let none = negative_binomial(0.0, mean.ln(), theta.ln());
/// // (theta / (theta + mean))^theta
/// assert!((none.value.exp() - 0.16).abs() < 1e-12);
/// ```
pub fn negative_binomial(count: f64, log_mu: f64, log_theta: f64) -> LogProbability {
    let u = log_mu - log_theta;
    let theta = exp(log_theta);
    if count > 0.0 {
        return positive(gamma_differences(theta, count), count, u, theta);
    }
    LogProbability {
        value: -theta * softplus(u),
        d_log_mu: -theta * sigmoid(u),
        d_dropout: 0.0,
        d_log_theta: -theta * softplus_excess(u),
    }
}

/// The negative binomial at a count above zero; `u = ln(mu / theta)`, `gamma` belongs to `theta` and `count`.
///
/// Both signs of `u` are worked out and one is chosen, so that a loop over entries can use vectors.
#[inline(always)]
fn positive(gamma: GammaDifferences, count: f64, u: f64, theta: f64) -> LogProbability {
    // One exponential and one logarithm serve both signs of u.
    let z = exp(-u.abs());
    let ln_1p_z = ln_1p(z);
    let large = 1.0 / (1.0 + z);
    // Two forms of one expression; each avoids the other's cancellation on its side.
    let above = LogProbability {
        value: gamma.ln_coefficient - theta * (u + ln_1p_z) - count * ln_1p_z,
        d_log_mu: count * (z * large) - theta * large,
        d_dropout: 0.0,
        d_log_theta: theta * (gamma.digamma - u - ln_1p_z) - (count * (z * large) - theta * large),
    };
    let below = LogProbability {
        value: gamma.ln_coefficient - theta * ln_1p_z - count * (ln_1p_z - u),
        d_log_mu: (count - theta * z) * large,
        d_dropout: 0.0,
        d_log_theta: count * z * large - gamma.deficit - theta * excess(z, ln_1p_z, large),
    };
    let is_above = u > 0.0;
    let choose = |above: f64, below: f64| if is_above { above } else { below };
    LogProbability {
        value: choose(above.value, below.value),
        d_log_mu: choose(above.d_log_mu, below.d_log_mu),
        d_dropout: 0.0,
        d_log_theta: choose(above.d_log_theta, below.d_log_theta),
    }
}

pub(super) struct Nb;

impl CountDistribution for Nb {
    const HAS_DROPOUT: bool = false;
    const HAS_DISPERSION: bool = true;

    type Positive = Positive;

    fn log_probability(count: f64, parameters: &Parameters) -> LogProbability {
        negative_binomial(count, parameters.log_mu, parameters.log_theta)
    }

    #[inline(always)]
    fn score_zeros<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile) {
        let shift = zeros.shift;
        for (r, (gene, Row(scale))) in std::iter::zip(zeros.genes, zeros.scale).enumerate() {
            let Row(log_probability) = &mut tile.log_probability[r];
            let Row(d_log_mu) = &mut tile.d_log_mu[r];
            let Row(d_log_theta) = &mut tile.d_log_theta[r];
            let Row(residual) = &mut tile.residual[r];
            let down = -gene.per_cell * gene.theta;
            for i in 0..TILE {
                let log_mu = scale[i] + shift[i];
                let nb = math::softplus_parts(simd, log_mu - gene.log_theta);
                log_probability[i] = -gene.theta * nb.value;
                d_log_mu[i] = down * nb.slope;
                d_log_theta[i] = down * nb.excess;
                residual[i] = -math::exp(simd, log_mu);
            }
        }
    }

    #[inline(always)]
    fn score_zeros_value<S: Simd>(simd: S, zeros: &Zeros, tile: &mut ZeroTile) {
        let shift = zeros.shift;
        for (r, (gene, Row(scale))) in std::iter::zip(zeros.genes, zeros.scale).enumerate() {
            let Row(log_probability) = &mut tile.log_probability[r];
            for i in 0..TILE {
                let nb = math::softplus_parts(simd, scale[i] + shift[i] - gene.log_theta);
                log_probability[i] = -gene.theta * nb.value;
            }
        }
    }
}

pub(super) struct Positive {
    count: [f64; CAPACITY],
    /// `ln(mu / theta)`.
    u: [f64; CAPACITY],
    theta: [f64; CAPACITY],
    /// The coefficient is `product * exp(ln_rest)`: many logarithms are best taken together.
    product: [f64; CAPACITY],
    ln_rest: [f64; CAPACITY],
    digamma: [f64; CAPACITY],
    deficit: [f64; CAPACITY],
    gene: GeneTable,
}

impl Gathered for Positive {
    #[inline(always)]
    fn new() -> Self {
        let [zero, one] = [[0.0; CAPACITY], [1.0; CAPACITY]];
        Positive {
            count: one,
            u: zero,
            theta: one,
            product: one,
            ln_rest: zero,
            digamma: zero,
            deficit: zero,
            gene: GeneTable::new(),
        }
    }

    #[inline(always)]
    fn turn_to(&mut self, gene: Dispersion) {
        self.gene.turn_to(gene);
    }

    #[inline(always)]
    fn set(&mut self, i: usize, count: f64, log_mu: f64, _dropout: f64) {
        let small = self.gene.differences(count);
        self.count[i] = count;
        self.u[i] = log_mu - self.gene.log_theta;
        self.theta[i] = self.gene.theta;
        match small {
            Some(small) => {
                self.product[i] = small.product;
                self.ln_rest[i] = 0.0;
                self.digamma[i] = small.digamma;
                self.deficit[i] = small.deficit;
            }
            None => {
                let gamma = gamma_differences(self.gene.theta, count);
                self.product[i] = 1.0;
                self.ln_rest[i] = gamma.ln_coefficient;
                self.digamma[i] = gamma.digamma;
                self.deficit[i] = gamma.deficit;
            }
        }
    }

    #[inline(always)]
    fn score(&self, n: usize, scores: &mut Scores) {
        let (count, u, theta) = (&self.count[..n], &self.u[..n], &self.theta[..n]);
        let (product, ln_rest) = (&self.product[..n], &self.ln_rest[..n]);
        let (digamma, deficit) = (&self.digamma[..n], &self.deficit[..n]);
        let value = &mut scores.value[..n];
        let d_log_mu = &mut scores.d_log_mu[..n];
        let d_log_theta = &mut scores.d_log_theta[..n];
        for i in 0..n {
            let gamma = GammaDifferences {
                ln_coefficient: ln(product[i]) + ln_rest[i],
                digamma: digamma[i],
                deficit: deficit[i],
            };
            let nb = positive(gamma, count[i], u[i], theta[i]);
            value[i] = nb.value;
            d_log_mu[i] = nb.d_log_mu;
            d_log_theta[i] = nb.d_log_theta;
        }
    }
}

const TABLE: usize = DIRECT_BELOW as usize;
/// Up to here no product of [`TABLE`] factors leaves the range of numbers.
const LARGEST_THETA: f64 = 1e8;

/// The gamma function's differences for a small count.
#[derive(Clone, Copy)]
struct Small {
    /// `Gamma(theta + count) / (Gamma(theta) Gamma(count + 1))`.
    product: f64,
    digamma: f64,
    deficit: f64,
}

/// A gene's dispersion and the gamma function's differences for small counts, formed when first asked for.
struct GeneTable {
    log_theta: f64,
    theta: f64,
    known: usize,
    small: [Small; TABLE],
}

impl GeneTable {
    #[inline(always)]
    fn new() -> Self {
        let zero = Small {
            product: 1.0,
            digamma: 0.0,
            deficit: 0.0,
        };
        GeneTable {
            log_theta: 0.0,
            theta: 1.0,
            known: 0,
            small: [zero; TABLE],
        }
    }

    /// Turns to another gene.
    #[inline(always)]
    fn turn_to(&mut self, gene: Dispersion) {
        self.log_theta = gene.log_theta;
        self.theta = gene.theta;
        self.known = 0;
    }

    /// `None` for counts and dispersions that are not small.
    #[inline(always)]
    fn differences(&mut self, count: f64) -> Option<Small> {
        if count >= DIRECT_BELOW || self.theta > LARGEST_THETA {
            return None;
        }
        let count = count as usize;
        while self.known < count {
            // From a count of i to i + 1: one factor more.
            let before = self.small[self.known];
            let i = self.known as f64;
            let step = self.theta + i;
            let term = 1.0 / step;
            self.known += 1;
            self.small[self.known] = Small {
                product: before.product * (step / (i + 1.0)),
                digamma: before.digamma + term,
                deficit: before.deficit + i * term,
            };
        }
        Some(self.small[count])
    }
}
