//! What genes without structure look like: copies of real genes, shuffled over the cells.

use rand::seq::index;

use super::strata::strata;
use crate::counts::{CountMatrix, CountsView};
use crate::sampling::{Purpose, Streams};
use crate::{go_on, Result, Stop};

/// Counts of all genes of a view, followed by those of null copies.
pub struct WithCopies {
    /// The view's cells x its genes and their copies.
    pub matrix: CountMatrix<'static>,
    /// The gene that each copy was made of.
    pub sources: Vec<usize>,
}

/// Copies per gene: as many make a fit so much longer.
const COPIES_PER_GENE: f64 = 0.2;
/// Fewest copies, unless there are fewer genes: the smallest p-value is one over their number.
const FEWEST_COPIES: usize = 1000;

/// How many null copies go with so many genes.
pub fn n_null_copies(n_genes: usize) -> usize {
    let n = (COPIES_PER_GENE * n_genes as f64) as usize;
    n.max(FEWEST_COPIES).min(n_genes)
}

impl WithCopies {
    /// All of its cells and genes.
    ///
    /// # Errors
    /// None but those of [`CountsView::new`], for which there is no reason here.
    pub fn view(&self) -> Result<CountsView<'_>> {
        let n_genes = self.matrix.n_genes();
        let positions: Vec<Option<u32>> = (0..n_genes as u32).map(Some).collect();
        let cells = (0..self.matrix.n_cells()).collect();
        CountsView::new(&self.matrix, cells, &positions, n_genes)
    }
}

/// Adds null copies of genes to the counts of a view: a copy has its gene's counts, dealt anew to the cells of the same batch
/// and of about the same depth. Whatever structure the gene has beyond these, its copy has none, and everything else in
/// common with it: how much it is expressed, how much its counts spread, how it goes with depth. Trained beside the genes,
/// copies tell what a gene without structure reaches (Barber & Candes 2015, Annals of Statistics 43:2055, call such copies
/// knockoffs). Genes are taken evenly over the range of expression, at most one copy of each.
///
/// # Errors
/// [`crate::Error::Interrupted`] when asked to stop.
pub fn null_copies(
    view: &CountsView,
    batch: &[usize],
    n_batches: usize,
    n_copies: usize,
    streams: Streams,
    should_stop: Stop,
) -> Result<WithCopies> {
    let mut counts_of_gene = vec![Vec::new(); view.n_genes()];
    for cell in 0..view.n_cells() {
        go_on(cell, should_stop)?;
        view.for_each_in_cell(cell, |gene, count| {
            counts_of_gene[gene as usize].push((cell, count));
        });
    }
    let sources = evenly_by_expression(&counts_of_gene, n_copies);
    let strata: Vec<Vec<usize>> = strata(view, batch, n_batches)
        .into_iter()
        .flatten()
        .collect();
    let mut stratum_of = vec![0; view.n_cells()];
    for (s, cells) in strata.iter().enumerate() {
        cells.iter().for_each(|&cell| stratum_of[cell] = s);
    }
    let mut copies_of_cell = vec![Vec::new(); view.n_cells()];
    for (copy, &source) in sources.iter().enumerate() {
        go_on(copy, should_stop)?;
        let mut rng = streams.stream(Purpose::NullCopies, copy as u32);
        let mut counts_of_stratum = vec![Vec::new(); strata.len()];
        for &(cell, count) in &counts_of_gene[source] {
            counts_of_stratum[stratum_of[cell]].push(count);
        }
        for (cells, counts) in strata.iter().zip(&counts_of_stratum) {
            let places = index::sample(&mut rng, cells.len(), counts.len());
            for (place, &count) in places.into_iter().zip(counts) {
                copies_of_cell[cells[place]].push((copy as u32, count));
            }
        }
    }
    Ok(WithCopies {
        matrix: side_by_side(view, &copies_of_cell, sources.len())?,
        sources,
    })
}

/// At most `n` genes, from the least to the most expressed in even steps.
fn evenly_by_expression(counts_of_gene: &[Vec<(usize, f32)>], n: usize) -> Vec<usize> {
    let total = |gene: usize| -> f64 {
        counts_of_gene[gene]
            .iter()
            .map(|&(_, x)| f64::from(x))
            .sum()
    };
    let mut genes: Vec<(f64, usize)> = (0..counts_of_gene.len()).map(|g| (total(g), g)).collect();
    genes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let n = n.min(genes.len());
    (0..n)
        .map(|i| genes[(2 * i + 1) * genes.len() / (2 * n)].1)
        .collect()
}

/// The view's counts and the copies', which are in increasing order within a cell.
fn side_by_side(
    view: &CountsView,
    copies_of_cell: &[Vec<(u32, f32)>],
    n_copies: usize,
) -> Result<CountMatrix<'static>> {
    let n_genes = view.n_genes() as u32;
    let (mut offsets, mut genes, mut values) = (vec![0], Vec::new(), Vec::new());
    for (cell, copies) in copies_of_cell.iter().enumerate() {
        let mut of_cell = Vec::new();
        view.for_each_in_cell(cell, |gene, count| of_cell.push((gene, count)));
        // The genes of an aligned view may come in another order than the model's.
        of_cell.sort_by_key(|&(gene, _)| gene);
        let copies = copies.iter().map(|&(copy, count)| (n_genes + copy, count));
        for (gene, count) in of_cell.into_iter().chain(copies) {
            genes.push(gene);
            values.push(count);
        }
        offsets.push(genes.len());
    }
    CountMatrix::from_csr(offsets, genes, values, view.n_genes() + n_copies)
}

/// Genes' statistics beside those of null copies.
pub struct BesideNull<'a> {
    /// Statistics of the genes.
    pub genes: &'a [f64],
    /// Mean counts of the genes.
    pub mean: &'a [f64],
    /// Statistics of the copies.
    pub copies: &'a [f64],
    /// The gene that each copy was made of.
    pub sources: &'a [usize],
}

/// Fewest copies that a statistic is compared with to know its level and spread at a gene's expression.
const FEWEST_NEIGHBOURS: usize = 100;
/// That number as a share of all copies, where there are many.
const SHARE_OF_NEIGHBOURS: f64 = 0.05;

impl BesideNull<'_> {
    /// For each gene, how likely a gene without structure reaches as much: the share of copies that do, each measured by what
    /// copies of the same expression have: their median, and how far above it their quantile of .95 is. (The statistic of a
    /// gene with few counts cannot be far above it, but far below: a spread of both sides would never call such a gene, and
    /// others in its place.) A copy is measured by the others, as genes are by copies. The gene itself counts as one of them,
    /// so that no p-value is below `1 / (1 + copies)`. Without copies all are 1.
    pub fn p_values(&self) -> Vec<f64> {
        let mut by_mean: Vec<(f64, f64)> = self
            .sources
            .iter()
            .zip(self.copies)
            .map(|(&source, &statistic)| (self.mean[source], statistic))
            .collect();
        // Of equal means, and of few counts there are many, those side by side must be any.
        by_mean.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut of_copies: Vec<f64> = by_mean
            .iter()
            .enumerate()
            .map(|(own, &(mean, statistic))| standardised(&by_mean, Some(own), mean, statistic))
            .collect();
        of_copies.sort_by(f64::total_cmp);
        let n = of_copies.len();
        let p_value = |(&statistic, &mean): (&f64, &f64)| {
            let of_gene = standardised(&by_mean, None, mean, statistic);
            let below = of_copies.partition_point(|&copy| copy < of_gene);
            (1 + n - below) as f64 / (1 + n) as f64
        };
        self.genes.iter().zip(self.mean).map(p_value).collect()
    }
}

/// A statistic in the terms of the copies of about the same mean, which are in its order; of a copy without its own.
fn standardised(by_mean: &[(f64, f64)], own: Option<usize>, mean: f64, statistic: f64) -> f64 {
    let wanted = (SHARE_OF_NEIGHBOURS * by_mean.len() as f64) as usize;
    let n = wanted.max(FEWEST_NEIGHBOURS).min(by_mean.len());
    let centre = by_mean.partition_point(|&(m, _)| m < mean);
    let centre = (centre + by_mean.partition_point(|&(m, _)| m <= mean)) / 2;
    let start = centre.saturating_sub(n / 2).min(by_mean.len() - n);
    let others = (start..start + n).filter(|&place| Some(place) != own);
    let mut near: Vec<f64> = others.map(|place| by_mean[place].1).collect();
    if near.is_empty() {
        return 0.0;
    }
    near.sort_by(f64::total_cmp);
    let quantile = |q: f64| near[(q * (near.len() - 1) as f64).round() as usize];
    let spread = quantile(0.95) - quantile(0.5);
    (statistic - quantile(0.5)) / if spread > 0.0 { spread } else { 1.0 }
}
