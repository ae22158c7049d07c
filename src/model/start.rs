//! What a model starts from: how much of each gene there is, and what sets the batches apart.

use rayon::prelude::*;

use super::matching::{matches, Matches};
use super::{BatchMeans, Design};
use crate::counts::CountsView;
use crate::sampling::{Purpose, Streams};

/// Counts that a gene is taken to have had before in each batch, in all batches' share: keeps the ratios finite, and
/// those of rare genes near one.
const PRIOR: f64 = 2.0;
/// Sweeps in which the batches' differences are brought together, and in which the covariates' effects are told apart.
const SWEEPS: usize = 50;

/// Asked now and then whether to stop.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// The genes' shares of all counts, the batches' differences, and their sizes.
#[derive(Debug, Clone)]
pub struct Start {
    /// Logarithm of each gene's share of all counts.
    pub log_share: Vec<f32>,
    /// Per covariate, what each level adds to it; a gene's values side by side.
    pub log_ratios: Vec<Vec<f32>>,
    /// What each batch's `log1p(count)` lies above the mean of all batches, a gene's values side by side; empty with one
    /// batch.
    pub centre: Vec<f32>,
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
    ) -> Self {
        let n = view.n_genes() * n_batches;
        let mut totals = Totals {
            n_batches,
            counts: vec![0.0; n],
            logs: vec![0.0; n],
        };
        for (cell, b) in cells {
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

/// One of the batches' differences, genes x batches, from what is known of pairs of batches.
struct Differences {
    n_batches: usize,
    /// What all cells of a batch say; has the weight of one pair of cells.
    means: Vec<f64>,
    /// Sums over pairs of cells.
    sums: Vec<f64>,
}

impl Differences {
    /// `means` are those over all cells.
    fn new(mut means: Vec<f64>, n_batches: usize) -> Self {
        for of_gene in means.chunks_exact_mut(n_batches) {
            let mean = of_gene.iter().sum::<f64>() / n_batches as f64;
            of_gene.iter_mut().for_each(|x| *x -= mean);
        }
        Differences {
            n_batches,
            sums: vec![0.0; means.len()],
            means,
        }
    }

    fn add(&mut self, [a, b]: [usize; 2], gene: usize, sum: f64) {
        self.sums[gene * self.n_batches + a] += sum;
        self.sums[gene * self.n_batches + b] -= sum;
    }

    /// Each batch's difference from the mean of all, by least squares over the pairs; `n_pairs` are batches x batches.
    /// When asked to stop, genes are left as all cells say.
    fn solve(self, n_pairs: &[f64], should_stop: Stop) -> Vec<f64> {
        let n = self.n_batches;
        let of_batches = n_pairs.chunks_exact(n);
        let weights: Vec<f64> = of_batches.map(|n| 1.0 + n.iter().sum::<f64>()).collect();
        let mut out = self.means;
        let genes = out
            .par_chunks_exact_mut(n)
            .zip(self.sums.par_chunks_exact(n));
        genes.for_each(|(of_gene, sums)| {
            if should_stop() {
                return;
            }
            let means = of_gene.to_vec();
            for _ in 0..SWEEPS {
                for b in 0..n {
                    let pairs = &n_pairs[b * n..(b + 1) * n];
                    let others = pairs.iter().zip(&*of_gene).map(|(w, x)| w * x);
                    let known = means[b] + sums[b] + others.sum::<f64>();
                    of_gene[b] = known / weights[b];
                }
            }
            let mean = of_gene.iter().sum::<f64>() / n as f64;
            of_gene.iter_mut().for_each(|x| *x -= mean);
        });
        out
    }
}

impl Start {
    /// A start that knows nothing.
    pub fn flat(n_genes: usize, design: &Design) -> Self {
        let n_levels = design.n_levels().iter();
        let n_batches = design.n_batches();
        let n_centres = if n_batches > 1 { n_batches } else { 0 };
        Start {
            log_share: vec![-(n_genes.max(1) as f32).ln(); n_genes],
            log_ratios: n_levels.map(|n| vec![0.0; n_genes * n]).collect(),
            centre: vec![0.0; n_genes * n_centres],
        }
    }

    /// From the counts; `batch` is each cell's batch. With several covariates each level's ratio is what it adds beside
    /// the others' (an additive fit to the batches' log ratios, weighted by their cells). With many batches this takes a
    /// while: when `should_stop` says so it ends with what is known by then.
    pub fn of(
        view: &CountsView,
        batch: &[usize],
        design: &Design,
        means: BatchMeans,
        streams: Streams,
        should_stop: Stop,
    ) -> Self {
        let (n_genes, n_batches) = (view.n_genes(), design.n_batches());
        let mut n_cells = vec![0; n_batches];
        for &b in batch {
            n_cells[b] += 1;
        }
        let mut start = Start::flat(n_genes, design);
        let totals = Totals::of(view, batch.iter().copied().enumerate(), n_batches);
        let all = totals.counts.iter().sum::<f64>() + 0.5 * n_genes as f64;
        let of_genes = totals.counts.chunks_exact(n_batches);
        for (log_share, of_gene) in start.log_share.iter_mut().zip(of_genes) {
            *log_share = ((of_gene.iter().sum::<f64>() + 0.5) / all).ln() as f32;
        }
        if n_batches == 1 {
            return start;
        }
        let per_cell = totals.logs.iter().enumerate();
        let logs = per_cell.map(|(i, sum)| sum / n_cells[i % n_batches].max(1) as f64);
        let mut logs = Differences::new(logs.collect(), n_batches);
        let mut ratios = Differences::new(totals.log_ratios(), n_batches);
        let mut n_pairs = vec![0.0; n_batches * n_batches];
        if means == BatchMeans::Matched {
            let mut rng = streams.stream(Purpose::Matching, 0);
            let found = matches(view, batch, n_batches, &mut rng, should_stop).into_iter();
            for found in found.filter(|found| !found.pairs.is_empty()) {
                if should_stop() {
                    break;
                }
                let [a, b] = found.batches;
                let n = found.pairs.len() as f64;
                n_pairs[a * n_batches + b] = n;
                n_pairs[b * n_batches + a] = n;
                add(view, &found, &mut logs, &mut ratios);
            }
        }
        let centre = logs.solve(&n_pairs, should_stop);
        start.centre = centre.iter().map(|&x| x as f32).collect();
        start.split(&ratios.solve(&n_pairs, should_stop), &n_cells, design);
        start
    }

    /// Splits the batches' log ratios into those of the covariates' levels.
    fn split(&mut self, ratios: &[f64], n_cells: &[usize], design: &Design) {
        let n_batches = design.n_batches();
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
                    let of_levels = &mut self.log_ratios[covariate][gene * n..(gene + 1) * n];
                    for (level, ratio) in of_levels.iter_mut().enumerate() {
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
    let totals = Totals::of(view, cells, 2);
    let n = found.pairs.len() as f64;
    let of_genes = totals.logs.chunks_exact(2);
    for (gene, of_gene) in of_genes.enumerate() {
        logs.add(found.batches, gene, of_gene[0] - of_gene[1]);
    }
    for (gene, of_gene) in totals.log_ratios().chunks_exact(2).enumerate() {
        ratios.add(found.batches, gene, n * (of_gene[0] - of_gene[1]));
    }
}
