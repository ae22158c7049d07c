//! Batch normalisation, ReLU and dropout in one.

use candle_core::{Result as CandleResult, Tensor};

use super::arguments::{Activate, Address};
use super::card::{Card, Grid, Lent};
use crate::backend::{known_result, BatchStatistics, NormRule, NormTensors};

/// As in `activate.cu`.
const FEATURES: usize = 8;
const THREADS: u32 = 512;

/// Normalises, and if asked for goes on with ReLU and the factors of a dropout.
pub(super) fn forward(
    card: &Card,
    x: &Tensor,
    norm: NormTensors,
    rule: NormRule,
    rectifies: bool,
    factors: Option<&Tensor>,
) -> CandleResult<(Tensor, BatchStatistics)> {
    let (_, n) = x.dims2()?;
    let out = card.fresh::<f32>(x.shape())?;
    let statistics = BatchStatistics {
        mean: card.fresh::<f64>(n)?,
        variance: card.fresh::<f64>(n)?,
    };
    let known = Known::new(card, x, norm.gamma, norm.beta, factors)?;
    let running = [norm.mean, norm.variance].map(|t| card.lend_exactly(t, n));
    let [running_mean, running_variance] = running;
    let (running_mean, running_variance) = (running_mean?, running_variance?);
    let arguments = Activate {
        rectifies: rectifies.into(),
        momentum: rule.momentum,
        mean: card.lend::<f64>(&statistics.mean)?.at,
        variance: card.lend::<f64>(&statistics.variance)?.at,
        running_mean: running_mean.at,
        running_variance: running_variance.at,
        out: card.lend::<f32>(&out)?.at,
        ..known.arguments(rule.epsilon)
    };
    card.launch("activate", grid(n), &arguments)?;
    Ok((out, statistics))
}

/// What the way back needs.
pub(super) struct WayBack {
    pub(super) x: Tensor,
    pub(super) gamma: Tensor,
    pub(super) beta: Tensor,
    pub(super) statistics: BatchStatistics,
    pub(super) epsilon: f64,
    pub(super) rectifies: bool,
    pub(super) factors: Option<Tensor>,
}

impl WayBack {
    /// Gradients of x, gamma and beta.
    pub(super) fn back(&self, card: &Card, d_out: &Tensor) -> CandleResult<[Tensor; 3]> {
        let (_, n) = self.x.dims2()?;
        let d_x = card.fresh::<f32>(self.x.shape())?;
        let (d_gamma, d_beta) = (card.fresh::<f32>(n)?, card.fresh::<f32>(n)?);
        let factors = self.factors.as_ref();
        let known = Known::new(card, &self.x, &self.gamma, &self.beta, factors)?;
        let d_out = card.lend_exactly(d_out, self.x.elem_count())?;
        let arguments = Activate {
            rectifies: self.rectifies.into(),
            mean: card.lend::<f64>(&self.statistics.mean)?.at,
            variance: card.lend::<f64>(&self.statistics.variance)?.at,
            d_out: d_out.at,
            d_x: card.lend::<f32>(&d_x)?.at,
            d_gamma: card.lend::<f32>(&d_gamma)?.at,
            d_beta: card.lend::<f32>(&d_beta)?.at,
            ..known.arguments(self.epsilon)
        };
        card.launch("activate_back", grid(n), &arguments)?;
        Ok([d_x, d_gamma, d_beta])
    }
}

/// Normalises by running statistics, then ReLU.
pub(super) fn apply(
    card: &Card,
    x: &Tensor,
    norm: NormTensors,
    rule: NormRule,
) -> CandleResult<Tensor> {
    let by_running = ByRunning {
        card: card.clone(),
        x: x.detach(),
        of: [norm.gamma, norm.beta, norm.mean, norm.variance].map(|of| of.detach()),
        epsilon: rule.epsilon,
    };
    let out = by_running.launch("apply", None)?;
    known_result(&[x], out, move |d_out| {
        Ok(vec![by_running.launch("apply_back", Some(d_out))?])
    })
}

struct ByRunning {
    card: Card,
    x: Tensor,
    /// Gamma, beta, mean and variance.
    of: [Tensor; 4],
    epsilon: f64,
}

impl ByRunning {
    fn launch(&self, kernel: &str, d_out: Option<&Tensor>) -> CandleResult<Tensor> {
        let ((n_cells, n), card) = (self.x.dims2()?, &self.card);
        let [gamma, beta, mean, variance] = &self.of;
        let known = Known::new(card, &self.x, gamma, beta, None)?;
        let (mean, variance) = (card.lend_exactly(mean, n)?, card.lend_exactly(variance, n)?);
        let d_out = d_out.map(|d| card.lend_exactly(d, n_cells * n));
        let d_out = d_out.transpose()?;
        let made = card.fresh::<f32>(self.x.shape())?;
        let at = card.lend::<f32>(&made)?.at;
        let arguments = Activate {
            running_mean: mean.at,
            running_variance: variance.at,
            out: at,
            d_x: at,
            d_out: d_out.as_ref().map_or(Address::default(), |d| d.at),
            ..known.arguments(self.epsilon)
        };
        card.launch(kernel, Grid::over(n_cells * n), &arguments)?;
        Ok(made)
    }
}

/// What both ways read.
struct Known {
    x: Lent,
    gamma: Lent,
    beta: Lent,
    factors: Option<Lent>,
    shape: (usize, usize),
}

impl Known {
    fn new(
        card: &Card,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        factors: Option<&Tensor>,
    ) -> CandleResult<Self> {
        let shape = x.dims2()?;
        let factors = factors.map(|factors| card.lend_exactly(factors, shape.0 * shape.1));
        Ok(Known {
            x: card.lend::<f32>(x)?,
            gamma: card.lend_exactly(gamma, shape.1)?,
            beta: card.lend_exactly(beta, shape.1)?,
            factors: factors.transpose()?,
            shape,
        })
    }

    /// With what only one of the ways needs left out.
    fn arguments(&self, epsilon: f64) -> Activate {
        Activate {
            x: self.x.at,
            gamma: self.gamma.at,
            beta: self.beta.at,
            n_cells: self.shape.0 as i32,
            n_features: self.shape.1 as i32,
            factors: self.factors.as_ref().map_or(Address::default(), |f| f.at),
            epsilon,
            ..Activate::default()
        }
    }
}

fn grid(n_features: usize) -> Grid {
    Grid::new((n_features.div_ceil(FEATURES), 1), THREADS)
}
