//! What a model starts from: how much of each gene there is, and what sets the batches apart.

use serde::{Deserialize, Serialize};

use super::differences::{Differences, Pairs};
use super::matching::{matches, Matches};
use super::Design;
use crate::counts::CountsView;
use crate::sampling::{Purpose, Streams};
use crate::{Error, Result, Stop};

/// Counts that a gene is taken to have had before in each batch, in all batches' share: keeps the ratios finite, and
/// those of rare genes near one.
const PRIOR: f64 = 2.0;
/// Cells that are gone through before it is asked again whether to stop.
const CELLS_BETWEEN_LOOKS: usize = 1024;
/// Sweeps in which the covariates' effects are told apart.
const SWEEPS: usize = 50;

/// From which cells the differences between batches are taken before training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchMeans {
    /// Pairs of cells that are among each other's nearest in two batches: right also where batches hold other kinds of
    /// cells.
    Matched,
    /// All cells: a difference in composition counts as one between batches.
    All,
}

/// The genes' shares of all counts, the batches' differences, and their sizes.
#[derive(Debug, Clone)]
pub struct InitialValues {
    /// Logarithm of each gene's share of all counts.
    pub log_share: Vec<f32>,
    /// Per covariate, what each level adds to it, levels x genes.
    pub log_ratios: Vec<Vec<f32>>,
    /// What each batch's `log1p(count)` lies above the mean of all batches, batches x genes; empty with one batch.
    pub input_shift: Vec<f32>,
}

/// Sums over the cells of each batch, a gene's values side by side.
struct Totals {
    n_batches: usize,
    counts: Vec<f64>,
    logs: Vec<f64>,
}

impl Totals {
    fn of(
        view: &CountsView,
        cells: impl Iterator<Item = (usize, usize)>,
        n_batches: usize,
        should_stop: Stop,
    ) -> Self {
        let n = view.n_genes() * n_batches;
        let mut totals = Totals {
            n_batches,
            counts: vec![0.0; n],
            logs: vec![0.0; n],
        };
        for (i, (cell, b)) in cells.enumerate() {
            if i % CELLS_BETWEEN_LOOKS == 0 && should_stop() {
                break;
            }
            view.for_each_in_cell(cell, |gene, count| {
                let at = gene as usize * n_batches + b;
                totals.counts[at] += f64::from(count);
                totals.logs[at] += f64::from(count).ln_1p();
            });
        }
        totals
    }

    /// Counts of each batch.
    fn of_batches(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_batches];
        for of_gene in self.counts.chunks_exact(self.n_batches) {
            for (sum, x) in sums.iter_mut().zip(of_gene) {
                *sum += x;
            }
        }
        sums
    }

    /// Logarithms of each batch's share of each gene over that of all batches together.
    fn log_ratios(&self) -> Vec<f64> {
        let of_batches = self.of_batches();
        let all = of_batches.iter().sum::<f64>().max(1.0);
        let of_genes = self.counts.chunks_exact(self.n_batches);
        let ratios = of_genes.flat_map(|of_gene| {
            let share = of_gene.iter().sum::<f64>() / all;
            let batches = of_gene.iter().zip(&of_batches);
            batches.map(move |(count, total)| ((count + PRIOR) / (share * total + PRIOR)).ln())
        });
        ratios.collect()
    }
}

impl InitialValues {
    /// Values that know nothing.
    pub fn flat(n_genes: usize, design: &Design) -> Self {
        let n_levels = design.n_levels().iter();
        let n_batches = design.n_batches();
        let n_shifted = if n_batches > 1 { n_batches } else { 0 };
        InitialValues {
            log_share: vec![-(n_genes.max(1) as f32).ln(); n_genes],
            log_ratios: n_levels.map(|n| vec![0.0; n_genes * n]).collect(),
            input_shift: vec![0.0; n_genes * n_shifted],
        }
    }

    /// From the counts; `batch` is each cell's batch. With several covariates each level's ratio is what it adds beside
    /// the others' (an additive fit to the batches' log ratios, weighted by their cells). With many batches this takes a
    /// while.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when asked to stop.
    pub fn of(
        view: &CountsView,
        batch: &[usize],
        design: &Design,
        means: BatchMeans,
        streams: Streams,
        should_stop: Stop,
    ) -> Result<Self> {
        let (n_genes, n_batches) = (view.n_genes(), design.n_batches());
        let mut n_cells = vec![0; n_batches];
        for &b in batch {
            n_cells[b] += 1;
        }
        let mut initial = InitialValues::flat(n_genes, design);
        let totals = Totals::of(
            view,
            batch.iter().copied().enumerate(),
            n_batches,
            should_stop,
        );
        let all = totals.counts.iter().sum::<f64>() + 0.5 * n_genes as f64;
        let of_genes = totals.counts.chunks_exact(n_batches);
        for (log_share, of_gene) in initial.log_share.iter_mut().zip(of_genes) {
            *log_share = ((of_gene.iter().sum::<f64>() + 0.5) / all).ln() as f32;
        }
        if n_batches == 1 {
            return initial.if_whole(should_stop);
        }
        let per_cell = totals.logs.iter().enumerate();
        let logs = per_cell.map(|(i, sum)| sum / n_cells[i % n_batches].max(1) as f64);
        let mut logs = Differences::new(logs.collect(), n_batches);
        let mut ratios = Differences::new(totals.log_ratios(), n_batches);
        let mut n_pairs = Pairs::none(n_batches);
        if means == BatchMeans::Matched {
            let mut rng = streams.stream(Purpose::Matching, 0);
            let found = matches(view, batch, n_batches, &mut rng, should_stop).into_iter();
            for found in found.filter(|found| !found.pairs.is_empty()) {
                if should_stop() {
                    break;
                }
                n_pairs.set(found.batches, found.pairs.len() as f64);
                add(view, &found, &mut logs, &mut ratios);
            }
        }
        for (gene, of_gene) in logs
            .solve(&n_pairs, should_stop)
            .chunks_exact(n_batches)
            .enumerate()
        {
            for (batch, &shift) in of_gene.iter().enumerate() {
                initial.input_shift[batch * n_genes + gene] = shift as f32;
            }
        }
        initial.split(&ratios.solve(&n_pairs, should_stop), &n_cells, design);
        initial.if_whole(should_stop)
    }

    /// Whoever was asked to stop, once, ended with what was known by then: it is of no use.
    fn if_whole(self, should_stop: Stop) -> Result<Self> {
        match should_stop() {
            true => Err(Error::Interrupted),
            false => Ok(self),
        }
    }

    /// Splits the batches' log ratios into those of the covariates' levels.
    fn split(&mut self, ratios: &[f64], n_cells: &[usize], design: &Design) {
        let (n_genes, n_batches) = (self.log_share.len(), design.n_batches());
        let sweeps = if design.n_levels().len() > 1 {
            SWEEPS
        } else {
            1
        };
        let weights: Vec<f64> = n_cells.iter().map(|&n| n as f64).collect();
        for (gene, of_gene) in ratios.chunks_exact(n_batches).enumerate() {
            let mut left = of_gene.to_vec();
            for _ in 0..sweeps {
                for (covariate, &n) in design.n_levels().iter().enumerate() {
                    let level_of = design.of_batches(covariate);
                    let mut sums = vec![(0.0, 0.0); n];
                    for ((&level, left), weight) in level_of.iter().zip(&left).zip(&weights) {
                        sums[level].0 += left * weight;
                        sums[level].1 += weight;
                    }
                    let mean = |level: usize| sums[level].0 / f64::max(sums[level].1, 1.0);
                    for (&level, left) in level_of.iter().zip(&mut left) {
                        *left -= mean(level);
                    }
                    let of_gene = self.log_ratios[covariate].iter_mut().skip(gene);
                    for (level, ratio) in of_gene.step_by(n_genes).enumerate() {
                        *ratio += mean(level) as f32;
                    }
                }
            }
        }
    }
}

/// Adds what the matching cells of two batches say.
fn add(view: &CountsView, found: &Matches, logs: &mut Differences, ratios: &mut Differences) {
    let cells = (0..2).flat_map(|side| found.pairs.iter().map(move |pair| (pair[side], side)));
    let totals = Totals::of(view, cells, 2, &|| false);
    let n = found.pairs.len() as f64;
    let of_genes = totals.logs.chunks_exact(2);
    for (gene, of_gene) in of_genes.enumerate() {
        logs.add(found.batches, gene, of_gene[0] - of_gene[1]);
    }
    for (gene, of_gene) in totals.log_ratios().chunks_exact(2).enumerate() {
        ratios.add(found.batches, gene, n * (of_gene[0] - of_gene[1]));
    }
}
