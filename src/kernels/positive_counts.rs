//! Positive counts, gathered from many genes so that vector instructions have enough to do: double precision.

use super::log_probability::LogProbability;
use super::row::TILE;

/// Counts gathered before they are worked on: there is always room for one gene's in a tile.
pub(super) const CAPACITY: usize = 2 * TILE;
/// The vector loop takes so many at a time.
const LANES: usize = 8;

/// Where a count stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Gene, counted within those worked on together.
    pub(super) row: usize,
    /// Cell, counted within the tile.
    pub(super) cell: usize,
}

/// A gene's inverse dispersion and its logarithm; one and zero where a distribution has none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dispersion {
    pub(super) log_theta: f64,
    pub(super) theta: f64,
}

/// A distribution's columns: what it works the probabilities of [`CAPACITY`] counts out from.
pub(super) trait Gathered {
    /// Columns of harmless values: places that hold no count are worked on, too.
    fn new() -> Self;

    /// Turns to another gene.
    fn turn_to(&mut self, gene: Dispersion);

    /// Puts one of the gene's counts at a place; `dropout` is the logit of the extra zeros.
    fn set(&mut self, i: usize, count: f64, log_mu: f64, dropout: f64);

    /// Scores the first `n` places; columns of derivatives that the distribution does not have stay zero.
    fn score(&self, n: usize, scores: &mut Scores);
}

/// Log-probabilities and their derivatives.
pub(super) struct Scores {
    pub(super) value: [f64; CAPACITY],
    pub(super) d_log_mu: [f64; CAPACITY],
    pub(super) d_dropout: [f64; CAPACITY],
    pub(super) d_log_theta: [f64; CAPACITY],
}

/// Positive counts of a tile.
pub(super) struct PositiveCounts<G> {
    len: usize,
    places: [Place; CAPACITY],
    gathered: G,
    scores: Scores,
}

impl<G: Gathered> PositiveCounts<G> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        let zero = [0.0; CAPACITY];
        PositiveCounts {
            len: 0,
            places: [Place::default(); CAPACITY],
            gathered: G::new(),
            scores: Scores {
                value: zero,
                d_log_mu: zero,
                d_dropout: zero,
                d_log_theta: zero,
            },
        }
    }

    /// Turns to another gene.
    #[inline(always)]
    pub(super) fn turn_to(&mut self, gene: Dispersion) {
        self.gathered.turn_to(gene);
    }

    #[inline(always)]
    pub(super) fn push(&mut self, place: Place, count: f64, log_mu: f64, dropout: f64) {
        self.places[self.len] = place;
        self.gathered.set(self.len, count, log_mu, dropout);
        self.len += 1;
    }

    /// Whether another gene's counts might find no room.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.len > CAPACITY - TILE
    }

    /// Scores what was gathered, hands it over one by one and starts afresh.
    #[inline(always)]
    pub(super) fn drain(&mut self, mut take: impl FnMut(Place, LogProbability)) {
        // Places beyond the last count hold older ones, which are worked on for nothing.
        let n = self.len.next_multiple_of(LANES);
        let scores = &mut self.scores;
        self.gathered.score(n, scores);
        for i in 0..self.len {
            take(
                self.places[i],
                LogProbability {
                    value: scores.value[i],
                    d_log_mu: scores.d_log_mu[i],
                    d_dropout: scores.d_dropout[i],
                    d_log_theta: scores.d_log_theta[i],
                },
            );
        }
        self.len = 0;
    }
}
