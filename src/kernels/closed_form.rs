//! The two count distributions for one entry, in closed form and double precision: the yardstick of the fused pass,
//! which also uses it for every count above zero.
//!
//! Both are written in the logarithms of the mean and of the dispersion. With `a = ln mu`, `t = ln theta`:
//!
//! `ln NB(x) = ln_coefficient(theta, x) - theta softplus(a - t) - x softplus(t - a)`
//!
//! and the zero-inflated form mixes in a zero with probability `sigmoid(dropout)`. This is scVI's parameterisation
//! (Lopez et al. 2018, <https://doi.org/10.1038/s41592-018-0229-2>), without its small constants.

use super::special::{
    excess, exp, gamma_differences, ln_1p, logaddexp, sigmoid, softplus, softplus_excess,
    GammaDifferences,
};

/// A log-probability and its derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogProbability {
    /// Natural logarithm of the probability.
    pub value: f64,
    /// Derivative with respect to the logarithm of the mean.
    pub d_log_mu: f64,
    /// Derivative with respect to the logit of the extra zeros; zero for the negative binomial.
    pub d_dropout: f64,
    /// Derivative with respect to the logarithm of the dispersion.
    pub d_log_theta: f64,
}

/// Negative binomial with mean `exp(log_mu)` and inverse dispersion `exp(log_theta)` (variance
/// `mu + mu^2 / theta`) at a whole `count >= 0`.
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
pub(super) fn positive(gamma: GammaDifferences, count: f64, u: f64, theta: f64) -> LogProbability {
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

/// What zero inflation adds to the log-probability of a count above zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inflation {
    pub(super) value: f64,
    pub(super) d_dropout: f64,
}

/// Zero inflation of a count above zero.
#[inline(always)]
pub(super) fn inflate(dropout: f64) -> Inflation {
    let z = exp(-dropout.abs());
    let large = 1.0 / (1.0 + z);
    let is_above = dropout > 0.0;
    Inflation {
        value: -(ln_1p(z) + if is_above { dropout } else { 0.0 }),
        d_dropout: -if is_above { large } else { z * large },
    }
}

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
