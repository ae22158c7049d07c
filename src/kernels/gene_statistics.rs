//! What is summed over a gene's cells beside the loss: what criteria of the connection adjustment are made of.

use std::ops::Range;

use pulp::Simd;

use super::row::{dot, sum, Row, TILE};
use super::types::Segment;

/// A sum over the cells of a segment, one value per gene. `E[x]` is the count's expectation,
/// `(1 - px_dropout) * library * px_scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneStatistic {
    /// Of `(x - E[x])^2`.
    SquaredError,
    /// Of `(ln(1 + x) - ln(1 + E[x]))^2`.
    LogSquaredError,
    /// Of `E[x]`.
    Expected,
    /// Of `E[x]^2`.
    SquaredExpected,
    /// Of `x`.
    Count,
    /// Of `x ln(px_scale)`.
    LogShare,
    /// Of `library * px_scale`.
    Rate,
    /// Of `px_scale`.
    Share,
    /// Of `(px_scale - its mean over the segment)^2`; [`GeneStatistic::Share`] must be asked for, too.
    ShareVariation,
}

impl GeneStatistic {
    /// All of them.
    pub const ALL: [GeneStatistic; 9] = [
        GeneStatistic::SquaredError,
        GeneStatistic::LogSquaredError,
        GeneStatistic::Expected,
        GeneStatistic::SquaredExpected,
        GeneStatistic::Count,
        GeneStatistic::LogShare,
        GeneStatistic::Rate,
        GeneStatistic::Share,
        GeneStatistic::ShareVariation,
    ];
}

/// The statistics that are wanted. A gene's sums are statistics x segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) statistics: &'a [GeneStatistic],
    pub(super) n_segments: usize,
}

/// The segments that a tile holds something of, by number, and their cells, counted within the tile.
type Segments<'a> = &'a [(usize, Range<usize>)];

impl Wanted<'_> {
    /// Sums of a gene.
    #[inline(always)]
    pub(super) fn n_columns(&self) -> usize {
        self.statistics.len() * self.n_segments
    }

    #[inline(always)]
    pub(super) fn wants(&self, statistic: GeneStatistic) -> bool {
        self.statistics.contains(&statistic)
    }

    /// The columns of a statistic.
    #[inline(always)]
    fn columns(&self, statistic: GeneStatistic) -> Option<Range<usize>> {
        let place = self.statistics.iter().position(|&s| s == statistic)?;
        Some(place * self.n_segments..(place + 1) * self.n_segments)
    }

    /// Adds a row of expected counts, whose signs are turned.
    #[inline(always)]
    pub(super) fn add_expected<S: Simd>(
        &self,
        simd: S,
        segments: Segments,
        negative: &Row,
        sums: &mut [f64],
    ) {
        if let Some(columns) = self.columns(GeneStatistic::Expected) {
            add_values(simd, segments, negative, -1.0, &mut sums[columns]);
        }
        if let Some(columns) = self.columns(GeneStatistic::SquaredExpected) {
            add_products(simd, segments, [negative, negative], &mut sums[columns]);
        }
    }

    /// Adds a row of differences from the expected counts, and one of those of the logarithms.
    #[inline(always)]
    pub(super) fn add_errors<S: Simd>(
        &self,
        simd: S,
        segments: Segments,
        [errors, log_errors]: [&Row; 2],
        sums: &mut [f64],
    ) {
        if let Some(columns) = self.columns(GeneStatistic::SquaredError) {
            add_products(simd, segments, [errors, errors], &mut sums[columns]);
        }
        if let Some(columns) = self.columns(GeneStatistic::LogSquaredError) {
            add_products(simd, segments, [log_errors, log_errors], &mut sums[columns]);
        }
    }

    /// Adds a positive count of a cell of the tile.
    #[inline(always)]
    pub(super) fn add_count(
        &self,
        segments: Segments,
        cell: usize,
        count: f32,
        log_share: f32,
        sums: &mut [f64],
    ) {
        let own = segments.iter().find(|(_, cells)| cells.contains(&cell));
        let Some((segment, _)) = own else {
            return;
        };
        if let Some(columns) = self.columns(GeneStatistic::Count) {
            sums[columns.start + segment] += f64::from(count);
        }
        if let Some(columns) = self.columns(GeneStatistic::LogShare) {
            sums[columns.start + segment] += f64::from(count) * f64::from(log_share);
        }
    }

    /// Adds the shares of a tile's `n` cells; what lies beyond them is wiped out.
    #[inline(always)]
    pub(super) fn add_shares<S: Simd>(
        &self,
        simd: S,
        segments: Segments,
        n: usize,
        share: &mut Row,
        library: &Row,
        sums: &mut [f64],
    ) {
        if n < TILE {
            share.0[n..].fill(0.0);
        }
        if let Some(columns) = self.columns(GeneStatistic::Rate) {
            add_products(simd, segments, [share, library], &mut sums[columns]);
        }
        if let Some(columns) = self.columns(GeneStatistic::Share) {
            add_values(simd, segments, share, 1.0, &mut sums[columns]);
        }
        if let Some(columns) = self.columns(GeneStatistic::ShareVariation) {
            add_products(simd, segments, [share, share], &mut sums[columns]);
        }
    }

    /// From sums of squared shares to those of the squared differences from the segments' means.
    pub(super) fn centre_shares(&self, segments: &[Segment], sums: &mut [f64]) {
        let columns =
            [GeneStatistic::Share, GeneStatistic::ShareVariation].map(|s| self.columns(s));
        let [Some(shares), Some(variations)] = columns else {
            return;
        };
        for ((share, variation), segment) in shares.zip(variations).zip(segments) {
            let square = sums[share] * sums[share] / segment.rows.len() as f64;
            sums[variation] = (sums[variation] - square).max(0.0);
        }
    }
}

/// Adds a row's values, times a sign, to the sums of their segments.
#[inline(always)]
fn add_values<S: Simd>(simd: S, segments: Segments, row: &Row, sign: f64, sums: &mut [f64]) {
    match segments {
        [(segment, _)] => sums[*segment] += sign * f64::from(sum(simd, row)),
        several => {
            for (segment, cells) in several {
                let values = row.0[cells.clone()].iter();
                sums[*segment] += sign * values.map(|&x| f64::from(x)).sum::<f64>();
            }
        }
    }
}

/// Adds the products of two rows' values to the sums of their segments.
#[inline(always)]
fn add_products<S: Simd>(simd: S, segments: Segments, [a, b]: [&Row; 2], sums: &mut [f64]) {
    match segments {
        [(segment, _)] => sums[*segment] += f64::from(dot(simd, a, b)),
        several => {
            for (segment, cells) in several {
                let pairs = std::iter::zip(&a.0[cells.clone()], &b.0[cells.clone()]);
                let products = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b));
                sums[*segment] += products.sum::<f64>();
            }
        }
    }
}
