//! What the decoder's loss is computed from, and what comes out of it.

use std::ops::Range;

use super::distributions::Likelihood;
use super::gene_statistics::GeneStatistic;
use super::types::{GeneMajorCounts, Segment, Wiring};
use crate::{Error, Result};

/// Parameters of a sparsely connected head.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// One weight per slot of the wiring.
    pub weights: &'a [f32],
    /// One per gene; if it differs by segment, segments x genes.
    pub bias: &'a [f32],
    /// Whether it does. A single segment's bias has the form of a common one, but its gradient is added up in another
    /// order.
    pub bias_by_segment: bool,
}

/// What the loss is computed from.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLossInput<'a> {
    /// The counts' distribution.
    pub likelihood: Likelihood,
    /// The last hidden layer, cells x hidden units.
    pub hidden: &'a [f32],
    /// The cells of each batch: in order, without gaps, none empty.
    pub segments: &'a [Segment],
    /// The connections of both heads.
    pub wiring: &'a Wiring,
    /// Gives the logits of the genes' shares (`px_scale` is their softmax over genes).
    pub scale: Head<'a>,
    /// Gives the logits of the extra zeros; `None` where the distribution has none.
    pub dropout: Option<Head<'a>>,
    /// Logarithm of the inverse dispersion, one per gene; `None` where the distribution has none.
    pub log_theta: Option<&'a [f32]>,
    /// Logarithm of the cells' total counts.
    pub log_library: &'a [f32],
    /// The counts to explain.
    pub counts: &'a GeneMajorCounts,
    /// What is to be summed over the cells of each segment, with the gradients.
    pub statistics: &'a [GeneStatistic],
}

impl DecodeLossInput<'_> {
    /// Whether the parts fit together.
    ///
    /// # Errors
    /// [`Error::Argument`] if the arrays' lengths do not, or there is no cell or no gene.
    pub(super) fn check(&self) -> Result<()> {
        let (wiring, counts) = (self.wiring, self.counts);
        let n_cells = self.log_library.len();
        let n_genes = wiring.n_genes();
        let n_segments = self.segments.len();
        let head_fits = |head: Head| {
            head.weights.len() == wiring.n_slots()
                && head.bias.len() == n_genes * if head.bias_by_segment { n_segments } else { 1 }
        };
        let wants = |statistic| self.statistics.contains(&statistic);
        if wants(GeneStatistic::ShareVariation) && !wants(GeneStatistic::Share) {
            return Err(Error::Argument(
                "the variation of the genes' shares needs their sums, too".into(),
            ));
        }
        let mut end = 0;
        let segments_fit = self.segments.iter().all(|s| {
            let has_mask = wiring.masks.len() == 1 || s.batch < wiring.masks.len();
            let follows = s.rows.start == end && s.rows.end > end;
            end = s.rows.end;
            has_mask && follows
        });
        let fits = n_cells > 0
            && n_genes > 0
            && self.hidden.len() == n_cells * wiring.n_hidden
            && head_fits(self.scale)
            && self.dropout.is_some() == self.likelihood.has_dropout()
            && self.dropout.is_none_or(head_fits)
            && self.log_theta.is_some() == self.likelihood.has_dispersion()
            && self.log_theta.is_none_or(|t| t.len() == n_genes)
            && counts.n_cells == n_cells
            && counts.n_genes() == n_genes
            && counts.counts.len() == counts.cells.len()
            && counts.offsets.last().map(|&o| o as usize) == Some(counts.cells.len())
            && counts.offsets.is_sorted()
            && counts.cells.iter().all(|&c| (c as usize) < n_cells)
            && segments_fit
            && end == n_cells;
        if fits {
            return Ok(());
        }
        Err(Error::Argument(format!(
        "the parts of a mini-batch of {n_cells} cells and {n_genes} genes do not fit together for {:?}: {} hidden values of {} \
         units, {} scale and {} dropout weights for {} connections, {} dispersions, counts of {} cells and {} genes, \
         segments {:?}",
        self.likelihood,
        self.hidden.len(),
        wiring.n_hidden,
        self.scale.weights.len(),
        self.dropout.map_or(0, |d| d.weights.len()),
        wiring.n_slots(),
        self.log_theta.map_or(0, <[f32]>::len),
        counts.n_cells,
        counts.n_genes(),
        self.segments,
    )))
    }
}

/// Gradients of a head's parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeadGradients {
    /// One per slot of the wiring.
    pub weights: Vec<f32>,
    /// In the form of the head's bias.
    pub bias: Vec<f32>,
}

impl HeadGradients {
    /// Zeros for a block's genes.
    pub(super) fn clear_for(&mut self, head: Head, wiring: &Wiring, genes: &Range<usize>) {
        let n_slots = wiring.offsets[genes.end] - wiring.offsets[genes.start];
        refill(&mut self.weights, n_slots as usize, 0.0);
        let n_biases = head.bias.len() / wiring.n_genes();
        refill(&mut self.bias, genes.len() * n_biases, 0.0);
    }
}

/// Gradients of the loss, and what else falls off on the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DecodeLossGradients {
    /// With respect to `hidden`, cells x hidden units.
    pub hidden: Vec<f32>,
    /// With respect to the scale head.
    pub scale: HeadGradients,
    /// With respect to the dropout head; empty where the distribution has none.
    pub dropout: HeadGradients,
    /// With respect to `log_theta`; `None` where the distribution has none.
    pub log_theta: Option<Vec<f32>>,
    /// Statistics x segments x genes.
    pub gene_sums: Vec<f32>,
}

/// Empties a vector and fills it with `n` values.
pub(super) fn refill<T: Clone>(values: &mut Vec<T>, n: usize, value: T) {
    values.clear();
    values.resize(n, value);
}
