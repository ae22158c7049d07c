//! What sets batches apart, from cells that match: of two batches, pairs of cells that are among each other's nearest
//! (Haghverdi et al. 2018, Nat Biotechnol 36:421-427). Means over all cells would take a difference in composition for
//! an effect of the batch; pairs are mostly of one kind.

use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::start::Stop;
use crate::counts::CountsView;

/// Cells that are compared, of all batches together and of one batch at most.
const MOST_CELLS: usize = 4000;
const MOST_OF_BATCH: usize = 500;
/// Nearest cells of the other batch that are looked at: a quarter of them within these bounds. Fewer find pairs that are
/// alike in their noise too, by which the batches' differences come out too small; more find pairs of unlike kinds.
/// `bench/results/matching.md` has the errors.
const FEWEST_NEAREST: usize = 5;
const MOST_NEAREST: usize = 20;
/// Counts of all cells are brought to this before their logarithms are compared.
const TOTAL: f64 = 1e4;

/// Two batches and their matching cells.
#[derive(Debug, Clone)]
pub struct Matches {
    /// Numbers of the batches.
    pub batches: [usize; 2],
    /// Cells of the view, one of each batch.
    pub pairs: Vec<[usize; 2]>,
}

/// A cell's logarithms of normalised counts.
struct Profile {
    cell: usize,
    genes: Vec<u32>,
    values: Vec<f32>,
    /// Product with the mean of all cells.
    with_mean: f32,
    /// Length of what is left without that mean.
    length: f32,
}

/// Matching cells of every two batches, or of some when asked to stop.
pub fn matches(
    view: &CountsView,
    batch: &[usize],
    n_batches: usize,
    rng: &mut ChaCha8Rng,
    should_stop: Stop,
) -> Vec<Matches> {
    let most = MOST_OF_BATCH
        .min(MOST_CELLS / n_batches)
        .max(FEWEST_NEAREST);
    let mut of_batches: Vec<Vec<Profile>> = (0..n_batches)
        .map(|b| {
            let cells: Vec<usize> = (0..batch.len()).filter(|&c| batch[c] == b).collect();
            let mut drawn = index::sample(rng, cells.len(), most.min(cells.len())).into_vec();
            drawn.sort_unstable();
            drawn.into_iter().map(|i| profile(view, cells[i])).collect()
        })
        .collect();
    centre(&mut of_batches, view.n_genes());
    let mut all = Vec::new();
    for a in 0..n_batches {
        for b in a + 1..n_batches {
            if should_stop() {
                return all;
            }
            let pairs = mutual(&of_batches[a], &of_batches[b], view.n_genes());
            all.push(Matches {
                batches: [a, b],
                pairs,
            });
        }
    }
    all
}

/// Calls `visit` with the logarithms of a cell's normalised counts.
pub(super) fn log_profile(view: &CountsView, cell: usize, mut visit: impl FnMut(u32, f32)) {
    let factor = TOTAL / view.library(cell).max(1.0);
    view.for_each_in_cell(cell, |gene, count| {
        visit(gene, (f64::from(count) * factor).ln_1p() as f32);
    });
}

fn profile(view: &CountsView, cell: usize) -> Profile {
    let (mut genes, mut values) = (Vec::new(), Vec::new());
    log_profile(view, cell, |gene, value| {
        genes.push(gene);
        values.push(value);
    });
    Profile {
        cell,
        genes,
        values,
        with_mean: 0.0,
        length: 0.0,
    }
}

/// Finds the mean of all cells' profiles and what each cell needs to be compared without it.
fn centre(of_batches: &mut [Vec<Profile>], n_genes: usize) {
    let mut mean = vec![0.0f32; n_genes];
    let n_cells = of_batches.iter().map(Vec::len).sum::<usize>().max(1) as f32;
    for profile in of_batches.iter().flatten() {
        for (&gene, &value) in profile.genes.iter().zip(&profile.values) {
            mean[gene as usize] += value / n_cells;
        }
    }
    let square: f32 = mean.iter().map(|m| m * m).sum();
    for profile in of_batches.iter_mut().flatten() {
        profile.with_mean = dot(profile, &mean);
        let own: f32 = profile.values.iter().map(|v| v * v).sum();
        profile.length = (own - 2.0 * profile.with_mean + square).max(1e-12).sqrt();
        // From here on what is to be taken off a product.
        profile.with_mean -= 0.5 * square;
    }
}

fn dot(profile: &Profile, dense: &[f32]) -> f32 {
    let entries = profile.genes.iter().zip(&profile.values);
    entries
        .map(|(&gene, &value)| value * dense[gene as usize])
        .sum()
}

/// Pairs of cells that are among each other's nearest, by the cosine of their profiles without the common mean.
fn mutual(a: &[Profile], b: &[Profile], n_genes: usize) -> Vec<[usize; 2]> {
    let similarity: Vec<Vec<f32>> = a
        .par_iter()
        .map(|from| {
            let mut dense = vec![0.0; n_genes];
            for (&gene, &value) in from.genes.iter().zip(&from.values) {
                dense[gene as usize] = value;
            }
            let to = b.iter().map(|to| {
                (dot(to, &dense) - from.with_mean - to.with_mean) / (from.length * to.length)
            });
            to.collect()
        })
        .collect();
    let nearest_of_a: Vec<Vec<usize>> = similarity.iter().map(|row| highest(row)).collect();
    let nearest_of_b = (0..b.len()).map(|j| {
        let column: Vec<f32> = similarity.iter().map(|row| row[j]).collect();
        highest(&column)
    });
    let nearest_of_b: Vec<Vec<usize>> = nearest_of_b.collect();
    let mut pairs = Vec::new();
    for (i, nearest) in nearest_of_a.iter().enumerate() {
        for &j in nearest {
            if nearest_of_b[j].contains(&i) {
                pairs.push([a[i].cell, b[j].cell]);
            }
        }
    }
    pairs
}

/// Positions of the highest values.
fn highest(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let n = order.len() / 4;
    let n = n.clamp(FEWEST_NEAREST, MOST_NEAREST).min(order.len());
    order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    order.truncate(n);
    order
}
