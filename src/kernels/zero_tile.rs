//! A gene's entries in some dozens of cells, all taken as zeros: the vector part of the fused loss.
//!
//! Loops run over arrays of one fixed length and use the branch-free functions of `math`; everything is inlined into
//! the fused pass, which is compiled once for each kind of vector instructions.

// Several arrays are walked side by side; an index reads better there than nested pairs of iterators.
#![allow(clippy::needless_range_loop)]

use super::math;

/// Cells handled together: enough for the widest vectors, little enough to stay in the first-level cache.
pub(super) const TILE: usize = 64;

/// The entries of one gene in up to [`TILE`] cells; derivatives are those of the loss.
pub(super) struct Tile {
    pub(super) log_probability: [f32; TILE],
    pub(super) d_log_mu: [f32; TILE],
    pub(super) d_dropout: [f32; TILE],
    pub(super) d_log_theta: [f32; TILE],
    /// `x - E[x]`.
    pub(super) residual: [f32; TILE],
}

impl Tile {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Tile {
            log_probability: [0.0; TILE],
            d_log_mu: [0.0; TILE],
            d_dropout: [0.0; TILE],
            d_log_theta: [0.0; TILE],
            residual: [0.0; TILE],
        }
    }
}

/// What the entries of one gene share.
#[derive(Clone, Copy)]
pub(super) struct Gene {
    pub(super) log_theta: f32,
    pub(super) theta: f32,
    pub(super) per_cell: f32,
}

/// A full tile of `values`, by way of `spare` where they are the last few cells.
#[inline(always)]
pub(super) fn whole<'a>(values: &'a [f32], spare: &'a mut [f32; TILE]) -> &'a [f32; TILE] {
    if let Ok(tile) = values.try_into() {
        return tile;
    }
    spare[..values.len()].copy_from_slice(values);
    spare
}

/// Sum of a tile, by halves: a fixed order that vector instructions can follow. Destroys the tile.
#[inline(always)]
pub(super) fn sum(values: &mut [f32; TILE]) -> f64 {
    let mut n = TILE;
    while n > 8 {
        n /= 2;
        let (low, high) = values.split_at_mut(n);
        for (l, h) in std::iter::zip(low, high) {
            *l += *h;
        }
    }
    values[..8].iter().map(|&v| f64::from(v)).sum()
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
fn zero_inflate(log_nb: f32, logit: f32) -> ZeroInflated {
    let gap = log_nb - logit;
    let z_logit = math::exp_neg_abs(logit);
    let z_gap = math::exp_neg_abs(gap);
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
    let positive = kept * math::one_minus_exp(log_nb);
    // ln(1 - positive), or where that cancels logaddexp(logit, log_nb) - softplus(logit), whose logit is then below
    // zero; both by way of one inverse hyperbolic tangent.
    let near = positive < 0.5;
    let numerator = if near { -positive } else { z_gap - z_logit };
    let denominator = 2.0 + if near { -positive } else { z_gap + z_logit };
    let highest = if gap > 0.0 { log_nb } else { logit };
    let offset = if near { 0.0 } else { highest };
    ZeroInflated {
        log_probability: offset + math::twice_atanh(numerator / denominator),
        own,
        d_dropout: extra * positive,
        kept,
    }
}

/// A tile of zeros under the zero-inflated negative binomial.
///
/// Three short loops rather than one long one: an entry is one chain of dependent instructions, and the processor
/// must see several entries ahead to keep busy.
#[inline(always)]
pub(super) fn zeros_inflated(
    scale: &[f32; TILE],
    shift: &[f32; TILE],
    dropout: &[f32; TILE],
    gene: Gene,
    tile: &mut Tile,
) {
    zeros(scale, shift, gene, tile);
    let mut own = [0.0; TILE];
    let mut kept = [0.0; TILE];
    for i in 0..TILE {
        let zero = zero_inflate(tile.log_probability[i], dropout[i]);
        tile.log_probability[i] = zero.log_probability;
        tile.d_dropout[i] = gene.per_cell * zero.d_dropout;
        own[i] = zero.own;
        kept[i] = zero.kept;
    }
    for i in 0..TILE {
        tile.d_log_mu[i] *= own[i];
        tile.d_log_theta[i] *= own[i];
        tile.residual[i] *= kept[i];
    }
}

/// The same without derivatives.
#[inline(always)]
pub(super) fn zeros_inflated_value(
    scale: &[f32; TILE],
    shift: &[f32; TILE],
    dropout: &[f32; TILE],
    gene: Gene,
    tile: &mut Tile,
) {
    zeros_value(scale, shift, gene, tile);
    for i in 0..TILE {
        tile.log_probability[i] = zero_inflate(tile.log_probability[i], dropout[i]).log_probability;
    }
}

/// A tile of zeros under the negative binomial.
#[inline(always)]
pub(super) fn zeros(scale: &[f32; TILE], shift: &[f32; TILE], gene: Gene, tile: &mut Tile) {
    let down = -gene.per_cell * gene.theta;
    for i in 0..TILE {
        let log_mu = scale[i] + shift[i];
        let nb = math::softplus_parts(log_mu - gene.log_theta);
        tile.log_probability[i] = -gene.theta * nb.value;
        tile.d_log_mu[i] = down * nb.slope;
        tile.d_log_theta[i] = down * nb.excess;
        tile.residual[i] = -math::exp(log_mu);
    }
}

/// The same without derivatives.
#[inline(always)]
pub(super) fn zeros_value(scale: &[f32; TILE], shift: &[f32; TILE], gene: Gene, tile: &mut Tile) {
    for i in 0..TILE {
        let nb = math::softplus_parts(scale[i] + shift[i] - gene.log_theta);
        tile.log_probability[i] = -gene.theta * nb.value;
    }
}
