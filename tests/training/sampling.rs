//! Which cells an epoch holds, and the depth factors of their counts.

use std::collections::HashSet;

use proptest::prelude::*;
use scvae::counts::filter;
use scvae::sampling::{MiniBatch, Sampler, Sampling, Streams};

use crate::simulated::simulated;

fn sampler(sizes: &[usize], batch_size: usize, sampling: Sampling, depth_range: f64) -> Sampler {
    let mut first = 0;
    let cells = sizes.iter().map(|&n| {
        first += n;
        (first - n..first).collect()
    });
    let streams = Streams::new(5);
    Sampler::new(cells.collect(), batch_size, sampling, depth_range, streams)
}

/// The batch of a cell, when batches of these sizes follow each other.
fn batch_of(cell: usize, sizes: &[usize]) -> usize {
    let mut end = 0;
    let ends = sizes.iter().map(|n| {
        end += n;
        end
    });
    ends.take_while(|&end| end <= cell).count()
}

/// A cell's raw counts and the encoder's input that was made of them, by gene.
fn of_cell(minibatch: &MiniBatch, cell: usize) -> Vec<(usize, f32, f32)> {
    let counts = &minibatch.counts;
    let mut found = Vec::new();
    for gene in 0..counts.offsets.len() - 1 {
        for i in counts.offsets[gene] as usize..counts.offsets[gene + 1] as usize {
            if counts.cells[i] as usize == cell {
                found.push((gene, counts.counts[i], minibatch.input[i]));
            }
        }
    }
    found
}

#[test]
fn depth_factors_change_the_encoder_s_input_and_nothing_else() {
    let (n_cells, range) = (150, 0.4);
    let (matrix, _) = simulated(n_cells, 40, 21);
    let view = filter(&matrix, 0, 0).unwrap();
    let cells = [(0..n_cells).collect::<Vec<_>>()];
    let plain = MiniBatch::gather(&view, &cells, None);
    let mut sampler = sampler(&[n_cells], 32, Sampling::Replacement, range);
    let augmented = MiniBatch::gather(&view, &cells, Some(&sampler.depth(&cells)));
    // The likelihood is asked about the counts as they are.
    assert_eq!(augmented.counts.counts, plain.counts.counts);
    assert_eq!(augmented.counts.cells, plain.counts.cells);
    assert_eq!(augmented.log_library, plain.log_library);
    let mut factors = Vec::new();
    for cell in 0..n_cells {
        let of_genes: Vec<f64> = of_cell(&augmented, cell)
            .into_iter()
            .map(|(_, count, input)| f64::from(input).exp_m1() / f64::from(count))
            .collect();
        for &factor in &of_genes {
            assert!((factor - of_genes[0]).abs() < 1e-5, "one factor a cell");
            assert!((1.0 - range..=1.0 + range + 1e-5).contains(&(factor + 5e-6)));
        }
        factors.push(of_genes[0]);
    }
    let lowest = factors.iter().copied().fold(f64::MAX, f64::min);
    let highest = factors.iter().copied().fold(f64::MIN, f64::max);
    assert!(lowest < 1.0 - 0.9 * range && highest > 1.0 + 0.9 * range);
    let mean = factors.iter().sum::<f64>() / n_cells as f64;
    assert!((mean - 1.0).abs() < 0.06, "{mean}");
    // The next look at the same cells has other factors.
    assert_ne!(
        MiniBatch::gather(&view, &cells, Some(&sampler.depth(&cells))).input,
        augmented.input
    );
}

#[test]
fn without_a_depth_range_the_input_is_the_logarithm_of_the_counts() {
    let (matrix, _) = simulated(50, 40, 22);
    let view = filter(&matrix, 0, 0).unwrap();
    let cells = [(0..50).collect::<Vec<_>>()];
    let depth = sampler(&[50], 32, Sampling::Shuffle, 0.0).depth(&cells);
    let minibatch = MiniBatch::gather(&view, &cells, Some(&depth));
    let mut n = 0;
    for cell in 0..50 {
        let mut expected = Vec::new();
        view.for_each_in_cell(cell, |gene, count| expected.push((gene as usize, count)));
        let found = of_cell(&minibatch, cell);
        assert_eq!(found.len(), expected.len());
        for ((gene, count, input), expected) in found.into_iter().zip(expected) {
            assert_eq!((gene, count), expected);
            assert!((f64::from(input) - f64::from(count).ln_1p()).abs() < 1e-6);
            n += 1;
        }
    }
    assert!(n > 500);
}

proptest! {
    #[test]
    fn batches_are_drawn_in_proportion(
        sizes in prop::collection::vec(0usize..60, 1..9),
        batch_size in 2usize..70,
    ) {
        let n: usize = sizes.iter().sum();
        prop_assume!(n > 0);
        for sampling in [Sampling::Replacement, Sampling::Balanced] {
            let present = sizes.iter().filter(|&&size| size > 0).count();
            let epoch = sampler(&sizes, batch_size, sampling, 0.0).epoch();
            // As many cells as there are, up to the last mini-batch, which is whole.
            let drawn = batch_size.min(n);
            prop_assert_eq!(epoch.len(), n.div_ceil(drawn));
            for step in epoch {
                prop_assert_eq!(step.iter().map(Vec::len).sum::<usize>(), drawn);
                for (b, (cells, &size)) in step.iter().zip(&sizes).enumerate() {
                    let share = match sampling {
                        Sampling::Balanced => f64::from(size > 0) / present as f64,
                        _ => size as f64 / n as f64,
                    };
                    let expected = share * drawn as f64;
                    prop_assert!((cells.len() as f64 - expected).abs() < 1.0 + 1e-9);
                    prop_assert!(cells.iter().all(|&cell| batch_of(cell, &sizes) == b));
                }
            }
        }
    }

    #[test]
    fn shuffled_epochs_hold_every_cell_once(
        sizes in prop::collection::vec(0usize..60, 1..9),
        batch_size in 2usize..70,
    ) {
        let n: usize = sizes.iter().sum();
        prop_assume!(n > 0);
        let mut sampler = sampler(&sizes, batch_size, Sampling::Shuffle, 0.0);
        for _ in 0..2 {
            let mut seen = vec![0; n];
            for step in sampler.epoch() {
                let n_cells = step.iter().map(Vec::len).sum::<usize>();
                prop_assert!((1..=batch_size + 2).contains(&n_cells), "{n_cells} in a step");
                for (b, cells) in step.iter().enumerate() {
                    for &cell in cells {
                        prop_assert_eq!(batch_of(cell, &sizes), b);
                        seen[cell] += 1;
                    }
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1), "{seen:?}");
        }
    }
}

#[test]
fn drawing_with_replacement_repeats_cells_and_shuffling_takes_another_order() {
    let all = |epoch: Vec<Vec<Vec<usize>>>| -> Vec<usize> {
        epoch.into_iter().flatten().flatten().collect()
    };
    let mut replacing = sampler(&[300], 50, Sampling::Replacement, 0.0);
    let drawn = all(replacing.epoch());
    assert_eq!(drawn.len(), 300);
    let distinct = drawn.iter().collect::<HashSet<_>>().len();
    // 1 - 1/e of the cells, give or take.
    assert!((160..220).contains(&distinct), "{distinct} of 300 cells");
    let mut shuffling = sampler(&[300], 50, Sampling::Shuffle, 0.0);
    assert_ne!(all(shuffling.epoch()), all(shuffling.epoch()));
}
