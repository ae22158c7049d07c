//! Some genes' entries in a tile's cells: first all taken as zeros, in vector instructions, then with the positive counts
//! in their places.
//!
//! Loops run over arrays of one fixed length and use the branch-free functions of `math`; everything is inlined into
//! the fused pass, which is compiled once for each kind of vector instructions.

use pulp::Simd;

use super::log_probability::LogProbability;
use super::math;
use super::positive_counts::Place;
use super::row::{Row, TILE};

/// Genes whose tiles are worked on together.
pub(super) const GROUP: usize = 4;

/// The entries of some genes in a tile's cells; derivatives are those of the loss.
pub(super) struct ZeroTile {
    /// Logits of the extra zeros.
    pub(super) logits: [Row; GROUP],
    pub(super) log_probability: [Row; GROUP],
    pub(super) d_log_mu: [Row; GROUP],
    pub(super) d_dropout: [Row; GROUP],
    pub(super) d_log_theta: [Row; GROUP],
    /// `x - E[x]`.
    pub(super) residual: [Row; GROUP],
    /// `ln(1 + x) - ln(1 + E[x])`, where asked for.
    pub(super) log_residual: [Row; GROUP],
    /// For what a distribution needs on the way.
    pub(super) scratch: [[Row; 2]; GROUP],
}

/// What the entries of one gene share.
#[derive(Clone, Copy, Default)]
pub(super) struct Gene {
    pub(super) log_theta: f32,
    pub(super) theta: f32,
    /// From a log-probability to its part of the loss.
    pub(super) per_cell: f32,
}

impl ZeroTile {
    #[inline(always)]
    pub(super) fn new() -> Self {
        let zero = [Row::ZERO; GROUP];
        ZeroTile {
            logits: zero,
            log_probability: zero,
            d_log_mu: zero,
            d_dropout: zero,
            d_log_theta: zero,
            residual: zero,
            log_residual: zero,
            scratch: [[Row::ZERO; 2]; GROUP],
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

    /// From the residuals of zeros, which are negative means, of the first `n` genes.
    #[inline(always)]
    pub(super) fn start_log_residuals<S: Simd>(&mut self, simd: S, n: usize) {
        let rows = std::iter::zip(&mut self.log_residual, &self.residual);
        for (Row(log), Row(negative_mean)) in rows.take(n) {
            for i in 0..TILE {
                log[i] = -math::ln_1p(simd, -negative_mean[i]);
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
}
