//! What sets batches apart, from cells that match: of two batches, pairs of cells that are among each other's nearest
//! (Haghverdi et al. 2018, Nat Biotechnol 36:421-427). Means over all cells would take a difference in composition for
//! an effect of the batch; pairs are mostly of one kind.

use rand::seq::{index, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::log_profile;
use crate::counts::CountsView;
use crate::Stop;

/// Cells that are compared, of all batches together and of one batch at most.
const MOST_CELLS: usize = 4000;
const MOST_OF_BATCH: usize = 500;
/// Cells that are compared of a batch, if it has them, however many batches there are: so many that the nearest are few
/// of them.
const FEWEST_COMPARED: usize = 4 * FEWEST_NEAREST;
/// Nearest cells of the other batch that are looked at: a quarter of them within these bounds. Fewer find pairs that are
/// alike in their noise too, by which the batches' differences come out too small; more find pairs of unlike kinds.
/// `bench/results/matching.md` has the errors.
const FEWEST_NEAREST: usize = 5;
const MOST_NEAREST: usize = 20;
/// Batches that each is compared with at most: with more there would be too many pairs of batches.
const MOST_PARTNERS: usize = 64;

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

/// Matching cells of every two batches, with very many batches of each and some others; of some when asked to stop.
pub fn matches(
    view: &CountsView,
    batch: &[usize],
    n_batches: usize,
    rng: &mut ChaCha8Rng,
    should_stop: Stop,
) -> Vec<Matches> {
    let most = MOST_OF_BATCH
        .min(MOST_CELLS / n_batches)
        .max(FEWEST_COMPARED);
    let mut of_batches: Vec<Vec<Profile>> = (0..n_batches)
        .map(|b| {
            let cells: Vec<usize> = (0..batch.len()).filter(|&c| batch[c] == b).collect();
            let mut drawn = index::sample(rng, cells.len(), most.min(cells.len())).into_vec();
            drawn.sort_unstable();
            drawn.into_iter().map(|i| profile(view, cells[i])).collect()
        })
        .collect();
    measure_without_mean(&mut of_batches, view.n_genes());
    let mut all = Vec::new();
    for batches in partners(n_batches, rng) {
        if should_stop() {
            return all;
        }
        let [a, b] = batches;
        let pairs = mutual(&of_batches[a], &of_batches[b], view.n_genes(), should_stop);
        all.push(Matches { batches, pairs });
    }
    all
}

/// The pairs of batches to compare: all, or if there are very many, each with the next ones in a random circle of all.
fn partners(n_batches: usize, rng: &mut ChaCha8Rng) -> Vec<[usize; 2]> {
    if n_batches <= MOST_PARTNERS + 1 {
        let pairs = (0..n_batches).flat_map(|a| (a + 1..n_batches).map(move |b| [a, b]));
        return pairs.collect();
    }
    let mut circle: Vec<usize> = (0..n_batches).collect();
    circle.shuffle(rng);
    let pairs = (0..n_batches).flat_map(|at| {
        let next = (1..=MOST_PARTNERS / 2).map(move |step| (at + step) % n_batches);
        next.map(move |other| [at, other])
    });
    let named = pairs.map(|[at, other]| {
        let [a, b] = [circle[at], circle[other]];
        [a.min(b), a.max(b)]
    });
    let mut named: Vec<[usize; 2]> = named.collect();
    named.sort_unstable();
    named
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
fn measure_without_mean(of_batches: &mut [Vec<Profile>], n_genes: usize) {
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
    let values = profile.genes.iter().zip(&profile.values);
    values
        .map(|(&gene, &value)| value * dense[gene as usize])
        .sum()
}

/// Pairs of cells that are among each other's nearest, by the cosine of their profiles without the common mean; none when
/// asked to stop.
fn mutual(a: &[Profile], b: &[Profile], n_genes: usize, should_stop: Stop) -> Vec<[usize; 2]> {
    let similarity: Vec<Vec<f32>> = a
        .par_iter()
        .map(|from| {
            if should_stop() {
                return vec![0.0; b.len()];
            }
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
    if should_stop() {
        return Vec::new();
    }
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
    // Of a batch with hardly any cells not all are near.
    let n = n
        .clamp(FEWEST_NEAREST, MOST_NEAREST)
        .min(order.len().div_ceil(2));
    order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    order.truncate(n);
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::{matches, partners, Matches, MOST_PARTNERS};
    use crate::counts::{filter, CountMatrix};

    const N_BATCHES: usize = 900;

    #[test]
    fn very_many_batches_are_each_compared_with_some_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let found = partners(N_BATCHES, &mut rng);
        assert_eq!(found.len(), N_BATCHES * MOST_PARTNERS / 2);
        let mut times = HashMap::new();
        for pair in &found {
            assert!(pair[0] < pair[1]);
            for b in pair {
                *times.entry(b).or_insert(0) += 1;
            }
        }
        assert!((0..N_BATCHES).all(|b| times[&b] == MOST_PARTNERS));
        let distinct = found.windows(2).all(|w| w[0] != w[1]);
        assert!(distinct, "no pair of batches twice");
        // Few enough for all.
        assert_eq!(partners(12, &mut rng).len(), 12 * 11 / 2);
    }

    #[test]
    fn cells_of_very_many_small_batches_match_their_kind() {
        // Two kinds of cells, which differ in half of the genes; as many of one kind as of the other in a batch.
        let (n_of_batch, n_genes) = (20, 24);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
        let kind = |cell: usize| cell % 2;
        for cell in 0..N_BATCHES * n_of_batch {
            for gene in 0..n_genes {
                let most = if gene % 2 == kind(cell) { 9 } else { 3 };
                let count = rng.random_range(0..most);
                if count > 0 {
                    genes.push(gene as u32);
                    values.push(count as f32);
                }
            }
            offsets.push(genes.len());
        }
        let matrix = CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap();
        let view = filter(&matrix, 0, 0).unwrap();
        let batch: Vec<usize> = (0..view.n_cells()).map(|cell| cell / n_of_batch).collect();
        let found = matches(&view, &batch, N_BATCHES, &mut rng, &|| false);
        assert_eq!(found.len(), N_BATCHES * MOST_PARTNERS / 2);
        let (mut n, mut alike) = (0, 0);
        for Matches { batches, pairs } in &found {
            for pair in pairs {
                assert_eq!(pair.map(|cell| batch[cell]), *batches);
                n += 1;
                alike += usize::from(kind(pair[0]) == kind(pair[1]));
            }
        }
        let possible = found.len() * n_of_batch * n_of_batch;
        assert!(n > 0 && n * 4 < possible, "{n} of {possible} pairs match");
        assert!(alike * 10 > 9 * n, "{alike} of {n} pairs are of one kind");
    }
}
