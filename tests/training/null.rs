//! Null copies of genes, and the p-values that come of them.

use std::collections::HashMap;

use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::counts::filter;
use scvae::results::{n_null_copies, null_copies, BesideNull};
use scvae::sampling::Streams;

use crate::simulated::{dense, simulated};

#[test]
fn a_copy_has_its_genes_counts_within_batch_and_depth() {
    let (matrix, batch) = simulated(360, 50, 5);
    let view = filter(&matrix, 3, 1).unwrap();
    let copies = null_copies(&view, &batch, 2, 20, Streams::new(1), &|| false).unwrap();
    let all = copies.view().unwrap();
    let (own, all_counts) = (dense(&view), dense(&all));
    assert_eq!(all.n_cells(), 360);
    assert_eq!(
        all_counts[..50],
        own,
        "the genes themselves are as they were"
    );
    assert_eq!(copies.sources.len(), 20);
    // 180 cells of each batch: four strata of 45.
    let mut stratum = HashMap::new();
    for b in 0..2 {
        let mut cells: Vec<usize> = (0..360).filter(|&cell| batch[cell] == b).collect();
        cells.sort_by(|&x, &y| view.library(x).total_cmp(&view.library(y)));
        for (place, cell) in cells.into_iter().enumerate() {
            stratum.insert(cell, (b, place / 45));
        }
    }
    let by_stratum = |counts: &[f32]| {
        let mut found: HashMap<(usize, usize), Vec<u32>> = HashMap::new();
        for (cell, &x) in counts.iter().enumerate() {
            found.entry(stratum[&cell]).or_default().push(x as u32);
        }
        found.values_mut().for_each(|counts| counts.sort());
        found
    };
    let mut moved = 0;
    for (copy, &source) in copies.sources.iter().enumerate() {
        let counts = &all_counts[50 + copy];
        assert_eq!(by_stratum(counts), by_stratum(&own[source]));
        moved += usize::from(*counts != own[source]);
    }
    assert_eq!(moved, 20);
    // From the least to the most expressed.
    let totals: Vec<f32> = copies
        .sources
        .iter()
        .map(|&g| own[g].iter().sum())
        .collect();
    assert!(totals.is_sorted());
    let again = null_copies(&view, &batch, 2, 20, Streams::new(1), &|| false).unwrap();
    assert_eq!(dense(&again.view().unwrap()), all_counts);
    let other = null_copies(&view, &batch, 2, 20, Streams::new(2), &|| false).unwrap();
    assert_ne!(dense(&other.view().unwrap()), all_counts);
}

#[test]
fn copies_are_a_fifth_of_the_genes_and_enough_for_small_p_values() {
    assert_eq!(n_null_copies(20_000), 4_000);
    assert_eq!(n_null_copies(3_000), 1_000);
    assert_eq!(n_null_copies(300), 300);
}

#[test]
fn p_values_are_ranks_among_copies() {
    let copies: Vec<f64> = (1..=99).map(f64::from).collect();
    let p = |statistic: f64| {
        let beside = BesideNull {
            genes: &[statistic],
            mean: &[1.0],
            copies: &copies,
            sources: &[0; 99],
        };
        beside.p_values()[0]
    };
    assert_eq!(p(1000.0), 0.01);
    // A copy is measured by one less, which may move it by two ranks.
    for (statistic, rank) in [(99.0, 0.02), (50.5, 0.5), (0.0, 1.0)] {
        let found = p(statistic);
        assert!((found - rank).abs() < 0.021, "{statistic}: {found}");
    }
    let none = BesideNull {
        genes: &[3.0],
        mean: &[1.0],
        copies: &[],
        sources: &[],
    };
    assert_eq!(none.p_values(), [1.0]);
}

/// p-values of genes that are null, beside copies of every second one.
fn p_values(mean: &[f64], mut null: impl FnMut(usize) -> f64) -> Vec<f64> {
    let genes: Vec<f64> = (0..mean.len()).map(&mut null).collect();
    let sources: Vec<usize> = (0..mean.len()).step_by(2).collect();
    let copies: Vec<f64> = sources.iter().map(|&i| null(i)).collect();
    let beside = BesideNull {
        genes: &genes,
        mean,
        copies: &copies,
        sources: &sources,
    };
    beside.p_values()
}

/// What a gene without structure reaches rises and spreads with its expression.
#[test]
fn p_values_know_what_expression_does() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let n = 4000;
    let mean: Vec<f64> = (0..n).map(|i| 1.002f64.powi(i)).collect();
    let null = |i: usize| {
        let (level, spread) = (0.01 * i as f64, 1.0 + 0.005 * i as f64);
        level + spread * rng.sample::<f64, _>(rand_distr::StandardNormal)
    };
    let p = p_values(&mean, null);
    for part in [&p[..1000], &p[3000..]] {
        let below = |bound: f64| part.iter().filter(|&&p| p <= bound).count() as f64 / 1000.0;
        for bound in [0.01_f64, 0.05, 0.5] {
            let sd = (bound * (1.0 - bound) / 1000.0).sqrt();
            // The copies' own error comes on top.
            assert!(
                (below(bound) - bound).abs() < 6.0 * sd,
                "{bound}: {}",
                below(bound)
            );
        }
    }
}

/// Genes with few counts have the same mean by the hundred.
#[test]
fn p_values_are_right_where_many_genes_have_the_same_mean() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let n = 8000;
    let mean: Vec<f64> = (0..n).map(|i| ((i / 1000) as f64).max(1.0)).collect();
    let null = |_| rng.sample::<f64, _>(rand_distr::StandardNormal);
    let p = p_values(&mean, null);
    for (group, part) in p.chunks(1000).enumerate() {
        let below = |bound: f64| part.iter().filter(|&&p| p <= bound).count() as f64 / 1000.0;
        for bound in [0.01_f64, 0.05, 0.5] {
            // The level and the spread are known from 200 copies.
            let sd = (bound * (1.0 - bound) / 1000.0).sqrt() + 0.2 * bound;
            let found = below(bound);
            assert!(
                (found - bound).abs() < 3.0 * sd,
                "{group}, {bound}: {found}"
            );
        }
    }
}

/// The statistic of a gene with few counts is skewed: it ends not far above its median.
#[test]
fn p_values_are_right_whatever_the_lower_side_is_like() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let n = 8000;
    let mean: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let null = |i: usize| {
        let x: f64 = rng.sample(rand_distr::StandardNormal);
        match i < 4000 && x < 0.0 {
            true => 4.0 * x,
            false => x,
        }
    };
    let p = p_values(&mean, null);
    for part in [&p[..3500], &p[4500..]] {
        let found = part.iter().filter(|&&p| p <= 0.05).count() as f64 / 3500.0;
        assert!((found - 0.05).abs() < 0.015, "{found}");
    }
}
