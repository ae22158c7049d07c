//! Some genes' entries in a tile's cells, all taken as zeros: the vector part of the fused loss.
//!
//! Loops run over arrays of one fixed length and use the branch-free functions of `math`; everything is inlined into
//! the fused pass, which is compiled once for each kind of vector instructions.

// Several arrays are walked side by side; an index reads better there than nested pairs of iterators.
#![allow(clippy::needless_range_loop)]

use pulp::Simd;

use super::closed_form::LogProbability;
use super::entries::Place;
use super::math;
use super::tiles::{Row, TILE};

/// Genes whose tiles are worked on together.
pub(super) const GROUP: usize = 4;

/// The entries of some genes in a tile's cells; derivatives are those of the loss.
pub(super) struct Tiles {
    /// Logits of the extra zeros.
    pub(super) logits: [Row; GROUP],
    pub(super) log_probability: [Row; GROUP],
    pub(super) d_log_mu: [Row; GROUP],
    pub(super) d_dropout: [Row; GROUP],
    pub(super) d_log_theta: [Row; GROUP],
    /// `x - E[x]`.
    pub(super) residual: [Row; GROUP],
    own: [Row; GROUP],
    kept: [Row; GROUP],
}

/// What the entries of one gene share.
#[derive(Clone, Copy, Default)]
pub(super) struct Gene {
    pub(super) log_theta: f32,
    pub(super) theta: f32,
    pub(super) per_cell: f32,
}

impl Tiles {
    #[inline(always)]
    pub(super) fn new() -> Self {
        let zero = [Row::ZERO; GROUP];
        Tiles {
            logits: zero,
            log_probability: zero,
            d_log_mu: zero,
            d_dropout: zero,
            d_log_theta: zero,
            residual: zero,
            own: zero,
            kept: zero,
        }
    }

    /// Scores all entries as zeros; `scale` and `shift` add up to the logarithms of the means.
    #[inline(always)]
    pub(super) fn score_zeros<S: Simd>(
        &mut self,
        simd: S,
        scale: &[Row],
        shift: &[f32; TILE],
        genes: &[Gene],
        inflated: bool,
        gradients: bool,
    ) {
        match (inflated, gradients) {
            (false, true) => self.zeros(simd, scale, shift, genes),
            (true, true) => {
                self.zeros(simd, scale, shift, genes);
                self.inflate(simd, genes);
            }
            (false, false) => self.zeros_value(simd, scale, shift, genes),
            (true, false) => {
                self.zeros_value(simd, scale, shift, genes);
                self.inflate_value(simd, genes.len());
            }
        }
    }

    /// Wipes out the places beyond the last cell.
    #[inline(always)]
    pub(super) fn clear_from(&mut self, n: usize) {
        if n < TILE {
            for rows in [
                &mut self.log_probability,
                &mut self.d_log_mu,
                &mut self.d_dropout,
                &mut self.d_log_theta,
                &mut self.residual,
            ] {
                rows.iter_mut().for_each(|row| row.0[n..].fill(0.0));
            }
        }
    }

    /// Puts a positive count in the place of a zero; its log-probability is counted elsewhere.
    #[inline(always)]
    pub(super) fn put(&mut self, place: Place, entry: LogProbability, per_cell: f64) {
        let Place { row, cell } = place;
        self.log_probability[row].0[cell] = 0.0;
        self.d_log_mu[row].0[cell] = (per_cell * entry.d_log_mu) as f32;
        self.d_dropout[row].0[cell] = (per_cell * entry.d_dropout) as f32;
        self.d_log_theta[row].0[cell] = (per_cell * entry.d_log_theta) as f32;
    }

    /// Zeros under the negative binomial.
    #[inline(always)]
    fn zeros<S: Simd>(&mut self, simd: S, scale: &[Row], shift: &[f32; TILE], genes: &[Gene]) {
        for (r, (gene, Row(scale))) in std::iter::zip(genes, scale).enumerate() {
            let Row(log_probability) = &mut self.log_probability[r];
            let Row(d_log_mu) = &mut self.d_log_mu[r];
            let Row(d_log_theta) = &mut self.d_log_theta[r];
            let Row(residual) = &mut self.residual[r];
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

    /// The same without derivatives.
    #[inline(always)]
    fn zeros_value<S: Simd>(
        &mut self,
        simd: S,
        scale: &[Row],
        shift: &[f32; TILE],
        genes: &[Gene],
    ) {
        for (r, (gene, Row(scale))) in std::iter::zip(genes, scale).enumerate() {
            let Row(log_probability) = &mut self.log_probability[r];
            for i in 0..TILE {
                let nb = math::softplus_parts(simd, scale[i] + shift[i] - gene.log_theta);
                log_probability[i] = -gene.theta * nb.value;
            }
        }
    }

    /// From the negative binomial to the zero-inflated one.
    #[inline(always)]
    fn inflate<S: Simd>(&mut self, simd: S, genes: &[Gene]) {
        for (r, gene) in genes.iter().enumerate() {
            let Row(logits) = &self.logits[r];
            let Row(log_probability) = &mut self.log_probability[r];
            let Row(d_dropout) = &mut self.d_dropout[r];
            let Row(own) = &mut self.own[r];
            let Row(kept) = &mut self.kept[r];
            for i in 0..TILE {
                let zero = zero_inflate(simd, log_probability[i], logits[i]);
                log_probability[i] = zero.log_probability;
                d_dropout[i] = gene.per_cell * zero.d_dropout;
                own[i] = zero.own;
                kept[i] = zero.kept;
            }
        }
        for r in 0..genes.len() {
            let (Row(own), Row(kept)) = (&self.own[r], &self.kept[r]);
            let Row(d_log_mu) = &mut self.d_log_mu[r];
            let Row(d_log_theta) = &mut self.d_log_theta[r];
            let Row(residual) = &mut self.residual[r];
            for i in 0..TILE {
                d_log_mu[i] *= own[i];
                d_log_theta[i] *= own[i];
                residual[i] *= kept[i];
            }
        }
    }

    /// The same without derivatives.
    #[inline(always)]
    fn inflate_value<S: Simd>(&mut self, simd: S, n: usize) {
        for r in 0..n {
            let Row(logits) = &self.logits[r];
            let Row(log_probability) = &mut self.log_probability[r];
            for i in 0..TILE {
                let zero = zero_inflate(simd, log_probability[i], logits[i]);
                log_probability[i] = zero.log_probability;
            }
        }
    }
}

/// Zeros under the zero-inflated distribution: the formulae of `closed_form::zero_inflated`, in single precision.
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
