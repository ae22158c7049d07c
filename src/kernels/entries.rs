//! Positive counts, gathered from many genes so that vector instructions have enough to do: double precision.

// Several arrays are walked side by side; an index reads better there than nested pairs of iterators.
#![allow(clippy::needless_range_loop)]

use super::closed_form::{inflate, positive, LogProbability};
use super::special::{gamma_differences, ln, GammaDifferences, DIRECT_BELOW};
use super::tiles::TILE;

/// Entries gathered before they are worked on: there is always room for one gene's in a tile.
const CAPACITY: usize = 2 * TILE;
/// The vector loop takes so many at a time.
const LANES: usize = 8;

/// Where an entry stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Gene, counted within those worked on together.
    pub(super) row: usize,
    /// Cell, counted within the tile.
    pub(super) cell: usize,
}

/// Entries of a tile with positive counts.
pub(super) struct Entries {
    len: usize,
    places: [Place; CAPACITY],
    count: [f64; CAPACITY],
    /// `ln(mu / theta)`.
    u: [f64; CAPACITY],
    theta: [f64; CAPACITY],
    dropout: [f64; CAPACITY],
    /// The negative binomial's coefficient is `product * exp(ln_rest)`: many logarithms are best taken together.
    product: [f64; CAPACITY],
    ln_rest: [f64; CAPACITY],
    digamma: [f64; CAPACITY],
    deficit: [f64; CAPACITY],
    value: [f64; CAPACITY],
    d_log_mu: [f64; CAPACITY],
    d_dropout: [f64; CAPACITY],
    d_log_theta: [f64; CAPACITY],
}

impl Entries {
    #[inline(always)]
    pub(super) fn new() -> Self {
        let [zero, one] = [[0.0; CAPACITY], [1.0; CAPACITY]];
        Entries {
            len: 0,
            places: [Place::default(); CAPACITY],
            count: one,
            u: zero,
            theta: one,
            dropout: zero,
            product: one,
            ln_rest: zero,
            digamma: zero,
            deficit: zero,
            value: zero,
            d_log_mu: zero,
            d_dropout: zero,
            d_log_theta: zero,
        }
    }

    #[inline(always)]
    pub(super) fn push(
        &mut self,
        place: Place,
        count: f64,
        log_mu: f64,
        dropout: f64,
        gene: &mut GeneTable,
    ) {
        let i = self.len;
        let small = gene.differences(count);
        self.places[i] = place;
        self.count[i] = count;
        self.u[i] = log_mu - gene.log_theta;
        self.theta[i] = gene.theta;
        self.dropout[i] = dropout;
        match small {
            Some(small) => {
                self.product[i] = small.product;
                self.ln_rest[i] = 0.0;
                self.digamma[i] = small.digamma;
                self.deficit[i] = small.deficit;
            }
            None => {
                let gamma = gamma_differences(gene.theta, count);
                self.product[i] = 1.0;
                self.ln_rest[i] = gamma.ln_coefficient;
                self.digamma[i] = gamma.digamma;
                self.deficit[i] = gamma.deficit;
            }
        }
        self.len += 1;
    }

    /// Whether another gene's entries might find no room.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.len > CAPACITY - TILE
    }

    /// Scores what was gathered, hands it over one by one and starts afresh.
    #[inline(always)]
    pub(super) fn drain(&mut self, inflated: bool, mut take: impl FnMut(Place, LogProbability)) {
        // Places beyond the last entry hold older ones, which are worked on for nothing.
        let n = self.len.next_multiple_of(LANES);
        let (count, u, theta) = (&self.count[..n], &self.u[..n], &self.theta[..n]);
        let (product, ln_rest) = (&self.product[..n], &self.ln_rest[..n]);
        let (digamma, deficit) = (&self.digamma[..n], &self.deficit[..n]);
        let value = &mut self.value[..n];
        let d_log_mu = &mut self.d_log_mu[..n];
        let d_log_theta = &mut self.d_log_theta[..n];
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
        if inflated {
            let dropout = &self.dropout[..n];
            let d_dropout = &mut self.d_dropout[..n];
            for i in 0..n {
                let zero_inflation = inflate(dropout[i]);
                value[i] += zero_inflation.value;
                d_dropout[i] = zero_inflation.d_dropout;
            }
        }
        for i in 0..self.len {
            take(
                self.places[i],
                LogProbability {
                    value: self.value[i],
                    d_log_mu: self.d_log_mu[i],
                    d_dropout: self.d_dropout[i],
                    d_log_theta: self.d_log_theta[i],
                },
            );
        }
        self.len = 0;
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
pub(super) struct GeneTable {
    log_theta: f64,
    theta: f64,
    known: usize,
    small: [Small; TABLE],
}

impl GeneTable {
    #[inline(always)]
    pub(super) fn new() -> Self {
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
    pub(super) fn start(&mut self, log_theta: f64, theta: f64) {
        self.log_theta = log_theta;
        self.theta = theta;
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
