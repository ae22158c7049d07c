//! Differences of batches by least squares over what is known of pairs of them.

use rayon::prelude::*;

use crate::Stop;

/// Sweeps in which the batches' differences are brought together.
const SWEEPS: usize = 50;

/// How many pairs of cells say something of two batches: for each batch the others that it has pairs with, in order.
pub(super) struct Pairs {
    of_batches: Vec<Vec<(usize, f64)>>,
}

impl Pairs {
    pub(super) fn none(n_batches: usize) -> Self {
        Pairs {
            of_batches: vec![Vec::new(); n_batches],
        }
    }

    pub(super) fn set(&mut self, [a, b]: [usize; 2], n_pairs: f64) {
        for (from, to) in [(a, b), (b, a)] {
            let others = &mut self.of_batches[from];
            let place = others.partition_point(|&(other, _)| other < to);
            others.insert(place, (to, n_pairs));
        }
    }
}

/// One of the batches' differences, genes x batches.
pub(super) struct Differences {
    n_batches: usize,
    /// What all cells of a batch say; has the weight of one pair of cells.
    means: Vec<f64>,
    /// Sums over pairs of cells.
    sums: Vec<f64>,
}

impl Differences {
    /// `means` are those over all cells.
    pub(super) fn new(mut means: Vec<f64>, n_batches: usize) -> Self {
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

    /// Adds what pairs of cells say, summed over the pairs.
    pub(super) fn add(&mut self, [a, b]: [usize; 2], gene: usize, sum: f64) {
        self.sums[gene * self.n_batches + a] += sum;
        self.sums[gene * self.n_batches + b] -= sum;
    }

    /// Each batch's difference from the mean of all, genes x batches. When asked to stop, genes are left as all cells
    /// say.
    pub(super) fn solve(self, pairs: &Pairs, should_stop: Stop) -> Vec<f64> {
        let n = self.n_batches;
        let of_batches = pairs.of_batches.iter();
        let weights: Vec<f64> = of_batches
            .map(|others| 1.0 + others.iter().map(|(_, n)| n).sum::<f64>())
            .collect();
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
                    let others = pairs.of_batches[b].iter();
                    let others = others.map(|&(other, weight)| weight * of_gene[other]);
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

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::{Differences, Pairs};

    /// The solution of `matrix x = right`, by elimination with the largest pivot.
    fn solved(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
        let n = right.len();
        for k in 0..n {
            let pivot = (k..n).max_by(|&i, &j| matrix[i][k].abs().total_cmp(&matrix[j][k].abs()));
            matrix.swap(k, pivot.unwrap());
            right.swap(k, pivot.unwrap());
            for i in (0..n).filter(|&i| i != k) {
                let factor = matrix[i][k] / matrix[k][k];
                let of_pivot = matrix[k].clone();
                for (x, y) in matrix[i].iter_mut().zip(of_pivot) {
                    *x -= factor * y;
                }
                right[i] -= factor * right[k];
            }
        }
        (0..n).map(|i| right[i] / matrix[i][i]).collect()
    }

    #[test]
    fn differences_are_those_of_least_squares() {
        // Four of the six batches have no pairs with one of the others.
        let (n, n_genes) = (6, 4);
        let all = (0..n).flat_map(|a| (a + 1..n).map(move |b| [a, b]));
        let links: Vec<[usize; 2]> = all.filter(|l| ![[0, 5], [1, 4]].contains(l)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut uniform = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random()).collect() };
        let (means, said) = (uniform(n * n_genes), uniform(links.len() * n_genes));
        let n_pairs = uniform(links.len()).into_iter().map(|x| (9.0 * x).ceil());
        let n_pairs: Vec<f64> = n_pairs.collect();

        let mut pairs = Pairs::none(n);
        let mut differences = Differences::new(means.clone(), n);
        for (i, &link) in links.iter().enumerate() {
            pairs.set(link, n_pairs[i]);
            for gene in 0..n_genes {
                // What the pairs say on average, times their number.
                differences.add(link, gene, n_pairs[i] * said[i * n_genes + gene]);
            }
        }
        let found = differences.solve(&pairs, &|| false);

        for gene in 0..n_genes {
            // Least of the sum over batches of (x - mean)^2 and over pairs of cells of (x_a - x_b - said)^2.
            let mut matrix = vec![vec![0.0; n]; n];
            let mut right = means[gene * n..][..n].to_vec();
            (0..n).for_each(|b| matrix[b][b] = 1.0);
            for (i, &[a, b]) in links.iter().enumerate() {
                let sum = n_pairs[i] * said[i * n_genes + gene];
                for (own, other, sum) in [(a, b, sum), (b, a, -sum)] {
                    matrix[own][own] += n_pairs[i];
                    matrix[own][other] -= n_pairs[i];
                    right[own] += sum;
                }
            }
            let expected = solved(matrix, right);
            let mean = expected.iter().sum::<f64>() / n as f64;
            for (b, x) in expected.iter().enumerate() {
                let error = found[gene * n + b] - (x - mean);
                assert!(error.abs() < 2e-3, "gene {gene}, batch {b}: {error}");
            }
        }
    }

    #[test]
    fn without_pairs_all_cells_decide() {
        let means = vec![1.0, 3.0, 8.0];
        let found = Differences::new(means, 3).solve(&Pairs::none(3), &|| false);
        assert_eq!(found, [-3.0, -1.0, 4.0]);
    }
}
