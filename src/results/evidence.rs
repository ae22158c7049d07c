//! What a fitted model knows of each gene: how much of its counts it explains, how much the fitted rate differs between
//! cells, and whether that could be chance.

use std::sync::Arc;

use rayon::prelude::*;

use super::embedding::{check_fit, median_library};
use super::strata::strata;
use super::CHUNK;
use crate::backend::Backend;
use crate::counts::CountsView;
use crate::kernels::GeneMajorCounts;
use crate::model::{Mode, Vae};
use crate::sampling::MiniBatch;
use crate::{Error, Result, Stop};

/// Vectors with one value per gene of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Mean count.
    pub mean: Vec<f64>,
    /// Share of the cells that have a count.
    pub detected: Vec<f64>,
    /// Share of the gene's deviance that the fitted rates explain, compared with a rate that is the same for all cells of a
    /// batch. The deviance is the Poisson one given the gene's total in each batch, so that only the pattern over the cells
    /// of a batch counts. At most 1; may be below 0.
    pub explained: Vec<f64>,
    /// Dispersion of the fitted rate within batches: variance over the cells of `px_scale` times the median library, over
    /// its mean. In counts.
    pub signal: Vec<f64>,
    /// Score statistic of the fitted pattern: how far the gene's counts follow the fitted log-rates of cells of the same
    /// batch and depth, in standard deviations of what independent counts of the same spread would give. A fit follows
    /// noise, too: what a gene without structure reaches is told by [`super::null_copies`], not by the normal distribution.
    pub statistic: Vec<f64>,
    /// Whether batches agree on the gene: 1 minus twice the standard deviation of its place (from 0, least, to 1) among the
    /// genes by the dispersion of the fitted rate in each batch. From 0 to 1; NaN where all cells are of one batch.
    pub agreement: Vec<f64>,
}

impl Evidence {
    /// The vectors by name.
    pub fn columns(&self) -> [(&'static str, &[f64]); 6] {
        [
            ("mean", &self.mean),
            ("detected", &self.detected),
            ("explained", &self.explained),
            ("signal", &self.signal),
            ("statistic", &self.statistic),
            ("agreement", &self.agreement),
        ]
    }

    /// From what `column` gives for each name of [`Evidence::columns`].
    ///
    /// # Errors
    /// Those of `column`.
    pub fn from_columns(column: impl Fn(&str) -> Result<Vec<f64>>) -> Result<Self> {
        Ok(Evidence {
            mean: column("mean")?,
            detected: column("detected")?,
            explained: column("explained")?,
            signal: column("signal")?,
            statistic: column("statistic")?,
            agreement: column("agreement")?,
        })
    }
}

/// Looks at the genes of the cells that a model was trained with; `batch` is each cell's batch.
///
/// # Errors
/// [`Error::Argument`] when the view or the batches do not fit the model, [`Error::Interrupted`] when asked to stop.
pub fn gene_evidence<B: Backend>(
    model: &Vae<B>,
    view: &CountsView,
    batch: &[usize],
    should_stop: Stop,
) -> Result<Evidence> {
    check_fit(model, view, batch)?;
    let (n_genes, n_batches) = (model.n_genes(), model.n_batches());
    let library = median_over_cells(view, batch);
    let mut genes = vec![Gene::default(); n_genes];
    let mut places = Vec::new();
    for (b, strata) in strata(view, batch, n_batches).into_iter().enumerate() {
        let mut of_batch = vec![OfBatch::default(); n_genes];
        let n_cells: usize = strata.iter().map(Vec::len).sum();
        let libraries = strata.iter().flatten().map(|&cell| view.library(cell));
        let batch_library: f64 = libraries.sum();
        for stratum in &strata {
            let totals = Totals::of(view, stratum);
            let mut of_stratum = vec![OfStratum::default(); n_genes];
            for cells in stratum.chunks(CHUNK) {
                if should_stop() {
                    return Err(Error::Interrupted);
                }
                let chunk = Chunk::evaluate(model, view, b, cells)?;
                let sums = of_stratum.par_iter_mut().zip(&mut of_batch).enumerate();
                sums.for_each(|(gene, (stratum, batch))| {
                    chunk.add(gene, totals.rate(gene), stratum, batch);
                });
            }
            for (gene, stratum) in genes.iter_mut().zip(&of_stratum) {
                gene.add_stratum(stratum);
            }
        }
        if n_cells == 0 {
            continue;
        }
        let n = n_cells as f64;
        places.push(places_of(
            of_batch.iter().map(|batch| batch.dispersion(n)).collect(),
        ));
        for (gene, of_batch) in genes.iter_mut().zip(&of_batch) {
            gene.add_batch(of_batch, n, batch_library);
        }
    }
    let n_cells = view.n_cells() as f64;
    let of_all = Totals::of(view, &(0..view.n_cells()).collect::<Vec<_>>());
    Ok(Evidence {
        mean: of_all.of_gene.iter().map(|sum| sum / n_cells).collect(),
        detected: of_all.cells.iter().map(|&n| n as f64 / n_cells).collect(),
        explained: genes.iter().map(Gene::explained).collect(),
        signal: genes
            .iter()
            .map(|gene| library * gene.dispersion())
            .collect(),
        statistic: genes.iter().map(Gene::statistic).collect(),
        agreement: (0..n_genes).map(|gene| agreement(&places, gene)).collect(),
    })
}

/// The place of each value among all, from 0 to 1; equal ones have the same.
fn places_of(values: Vec<f64>) -> Vec<f64> {
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let last = (values.len().max(2) - 1) as f64;
    let place = |x: f64| {
        let below = sorted.partition_point(|&y| y < x);
        let up_to = sorted.partition_point(|&y| y <= x);
        (below + up_to - 1) as f64 / 2.0 / last
    };
    values.iter().map(|&x| place(x)).collect()
}

fn agreement(places: &[Vec<f64>], gene: usize) -> f64 {
    let n = places.len() as f64;
    if places.len() < 2 {
        return f64::NAN;
    }
    let of_gene = || places.iter().map(|of_batch| of_batch[gene]);
    let mean = of_gene().sum::<f64>() / n;
    let variance = of_gene().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    1.0 - 2.0 * variance.sqrt()
}

fn median_over_cells(view: &CountsView, batch: &[usize]) -> f64 {
    median_library(view, &vec![0; batch.len()], 1)[0]
}

/// Counts of some cells, whatever the model says.
struct Totals {
    of_gene: Vec<f64>,
    /// Cells that have a count of the gene.
    cells: Vec<usize>,
    library: f64,
}

impl Totals {
    fn of(view: &CountsView, cells: &[usize]) -> Self {
        let mut totals = Totals {
            of_gene: vec![0.0; view.n_genes()],
            cells: vec![0; view.n_genes()],
            library: 0.0,
        };
        for &cell in cells {
            view.for_each_in_cell(cell, |gene, count| {
                totals.of_gene[gene as usize] += f64::from(count);
                totals.cells[gene as usize] += 1;
                totals.library += f64::from(count);
            });
        }
        totals
    }

    /// Counts of the gene per count of a cell.
    fn rate(&self, gene: usize) -> f64 {
        self.of_gene[gene] / self.library.max(1.0)
    }
}

/// What the model says of some cells of a batch.
struct Chunk {
    counts: Arc<GeneMajorCounts>,
    library: Vec<f64>,
    /// Genes x cells.
    scale: Vec<f32>,
    /// Probability of an extra zero, genes x cells; nothing for distributions without.
    dropout: Option<Vec<f32>>,
}

impl Chunk {
    fn evaluate<B: Backend>(
        model: &Vae<B>,
        view: &CountsView,
        batch: usize,
        cells: &[usize],
    ) -> Result<Self> {
        let mut groups = vec![Vec::new(); model.n_batches()];
        groups[batch] = cells.to_vec();
        let minibatch = MiniBatch::gather(view, &groups, None);
        let z = model.encode(&minibatch, &mut Mode::Evaluate)?.mean;
        let px = model.decode(&z, &minibatch.segments, &model.design)?;
        let scale = model.backend().px_scale(&px.scale)?;
        let dropout = px.dropout.map(|logits| {
            candle_nn::ops::sigmoid(&logits)?
                .flatten_all()?
                .to_vec1::<f32>()
        });
        Ok(Chunk {
            counts: minibatch.counts.clone(),
            library: cells.iter().map(|&cell| view.library(cell)).collect(),
            scale: scale.flatten_all()?.to_vec1()?,
            dropout: dropout.transpose()?,
        })
    }

    /// Adds a gene's cells to its sums; `rate` is that of its stratum.
    fn add(&self, gene: usize, rate: f64, stratum: &mut OfStratum, batch: &mut OfBatch) {
        let n = self.library.len();
        let scale = &self.scale[gene * n..(gene + 1) * n];
        let dropout = self.dropout.as_ref().map(|d| &d[gene * n..(gene + 1) * n]);
        // The expected count of a cell, over its library.
        let share = |cell: usize| {
            let kept = dropout.map_or(1.0, |d| 1.0 - f64::from(d[cell]));
            (f64::from(scale[cell]) * kept).max(f64::from(f32::MIN_POSITIVE))
        };
        for (cell, &library) in self.library.iter().enumerate() {
            let p = f64::from(scale[cell]);
            batch.scale += p;
            batch.squared_scale += p * p;
            let share = share(cell);
            batch.expected += share * library;
            let (log_share, mean) = (share.ln(), rate * library);
            stratum.weight += library;
            stratum.log_share += library * log_share;
            stratum.add_spread(mean * mean, log_share);
        }
        let entries = self.counts.offsets[gene] as usize..self.counts.offsets[gene + 1] as usize;
        let cells = self.counts.cells[entries.clone()].iter();
        for (&cell, &count) in cells.zip(&self.counts.counts[entries]) {
            let (cell, count) = (cell as usize, f64::from(count));
            let (library, log_share) = (self.library[cell], share(cell).ln());
            batch.count += count;
            batch.count_log_share += count * log_share;
            batch.count_log_rate += count * (count / library).ln();
            stratum.count += count;
            stratum.count_log_share += count * log_share;
            let mean = rate * library;
            stratum.add_spread((count - mean).powi(2) - mean * mean, log_share);
        }
    }
}

/// Sums over a gene's cells of a stratum.
#[derive(Debug, Clone, Default)]
struct OfStratum {
    count: f64,
    count_log_share: f64,
    /// Of the library, by which the log-shares are centred.
    weight: f64,
    log_share: f64,
    /// Of the squared differences of counts from their stratum's rate, times the log-share to the power of 0, 1, 2.
    spread: [f64; 3],
}

impl OfStratum {
    fn add_spread(&mut self, squared_difference: f64, log_share: f64) {
        self.spread[0] += squared_difference;
        self.spread[1] += squared_difference * log_share;
        self.spread[2] += squared_difference * log_share * log_share;
    }

    /// By how much the counts follow the log-shares, and the variance of that.
    fn score(&self) -> [f64; 2] {
        let centre = self.log_share / self.weight.max(1.0);
        let [zeroth, first, second] = self.spread;
        [
            self.count_log_share - self.count * centre,
            (second - 2.0 * centre * first + centre * centre * zeroth).max(0.0),
        ]
    }
}

/// Sums over a gene's cells of a batch.
#[derive(Debug, Clone, Default)]
struct OfBatch {
    scale: f64,
    squared_scale: f64,
    expected: f64,
    count: f64,
    count_log_share: f64,
    /// Of `x ln(x / library)`.
    count_log_rate: f64,
}

impl OfBatch {
    fn variation(&self, n_cells: f64) -> f64 {
        (self.squared_scale - self.scale * self.scale / n_cells).max(0.0)
    }

    fn dispersion(&self, n_cells: f64) -> f64 {
        quotient(self.variation(n_cells), self.scale)
    }
}

/// Sums over all of a gene's cells.
#[derive(Debug, Clone, Default)]
struct Gene {
    score: [f64; 2],
    variation: f64,
    scale: f64,
    explained: f64,
    deviance: f64,
}

impl Gene {
    fn add_stratum(&mut self, stratum: &OfStratum) {
        let [score, variance] = stratum.score();
        self.score[0] += score;
        self.score[1] += variance;
    }

    fn add_batch(&mut self, batch: &OfBatch, n_cells: f64, library: f64) {
        self.variation += batch.variation(n_cells);
        self.scale += batch.scale;
        if batch.count > 0.0 {
            let log_level = |total: f64| (total / library).ln();
            self.explained += batch.count_log_share - batch.count * log_level(batch.expected);
            self.deviance += batch.count_log_rate - batch.count * log_level(batch.count);
        }
    }

    fn explained(&self) -> f64 {
        quotient(self.explained, self.deviance)
    }

    fn dispersion(&self) -> f64 {
        quotient(self.variation, self.scale)
    }

    fn statistic(&self) -> f64 {
        quotient(self.score[0], self.score[1].sqrt())
    }
}

/// 0 for a gene without a count.
fn quotient(above: f64, below: f64) -> f64 {
    match below > 0.0 {
        true => above / below,
        false => 0.0,
    }
}
