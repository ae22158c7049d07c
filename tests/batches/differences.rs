//! What sets batches apart, and the designs that they make.

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::backend::Cpu;
use scvae::batches::{BatchMeans, Design, InitialValues};
use scvae::counts::filter;
use scvae::layers::{sparse_shift, wire, ConnectionMask};
use scvae::model::{BatchMasks, Settings};
use scvae::sampling::Streams;
use scvae::Error;

use crate::simulated::{fit, rates, settings, simulate, EFFECT, N_GENES};

/// How far the differences of two batches are from the truth: root mean square over genes.
fn error_of_offsets(initial: &InitialValues) -> f64 {
    let [first, second] = [0, 1].map(|b| &initial.log_ratios[0][b * N_GENES..][..N_GENES]);
    let squares = first.iter().zip(second).enumerate();
    let squares = squares.map(|(gene, (a, b))| {
        let truth = |b: usize| if gene % 7 == b { EFFECT } else { 0.0 };
        (f64::from(a - b) - (truth(0) - truth(1))).powi(2)
    });
    (squares.sum::<f64>() / N_GENES as f64).sqrt()
}

#[test]
fn matched_cells_tell_batches_from_composition() {
    // Kinds 1 and 2 are in the first batch only.
    let s = simulate(&[&[40, 80, 80, 40], &[60, 0, 0, 60]], 1);
    let view = filter(&s.matrix, 0, 0).unwrap();
    let design = Design::single(2);
    let start = |means, stop| {
        let should_stop = move || stop;
        InitialValues::of(
            &view,
            &s.batch,
            &design,
            means,
            Streams::new(1),
            &should_stop,
        )
    };
    let matched = start(BatchMeans::Matched, false).unwrap();
    let all = start(BatchMeans::All, false).unwrap();
    let [matched_error, all_error] = [&matched, &all].map(error_of_offsets);
    assert!(matched_error < 0.25, "{matched_error}");
    assert!(
        all_error > 2.0 * matched_error,
        "{all_error} {matched_error}"
    );
    // The encoder's input: genes of the kinds are not taken for the batches' doing.
    let of_kinds = |start: &InitialValues| -> f32 {
        let genes = (40..120).filter(|gene| gene % 7 > 1);
        genes
            .map(|gene| (start.input_shift[gene] - start.input_shift[N_GENES + gene]).abs())
            .sum()
    };
    assert!(of_kinds(&matched) < 0.3 * of_kinds(&all));
    // What is known of half of the cells is of no use.
    let stopped = start(BatchMeans::Matched, true);
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

#[test]
fn differences_add_up_to_nothing_and_do_not_depend_on_threads() {
    let s = simulate(&[&[50], &[30, 30], &[9, 40]], 2);
    let view = filter(&s.matrix, 0, 0).unwrap();
    let design = Design::single(3);
    let start = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            InitialValues::of(
                &view,
                &s.batch,
                &design,
                BatchMeans::Matched,
                Streams::new(1),
                &|| false,
            )
            .unwrap()
        })
    };
    let one = start(1);
    for gene in 0..N_GENES {
        let of_gene = one.input_shift.iter().skip(gene).step_by(N_GENES);
        assert!(of_gene.sum::<f32>().abs() < 1e-4);
    }
    let three = start(3);
    assert_eq!(one.input_shift, three.input_shift);
    assert_eq!(one.log_ratios, three.log_ratios);
}

#[test]
fn covariates_are_told_apart() {
    // The donors are the simulated batches 0 and 2; every other cell has the second chemistry.
    let s = simulate(&[&[60, 60], &[], &[60, 60]], 3);
    let chemistry: Vec<usize> = (0..s.batch.len()).map(|cell| cell % 2).collect();
    let donor: Vec<usize> = s.batch.iter().map(|&b| b / 2).collect();
    let batch: Vec<usize> = donor
        .iter()
        .zip(&chemistry)
        .map(|(d, c)| 2 * d + c)
        .collect();
    let levels = vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]];
    let design = Design::new(vec![2, 2], levels).unwrap();
    let view = filter(&s.matrix, 0, 0).unwrap();
    let start = InitialValues::of(
        &view,
        &batch,
        &design,
        BatchMeans::All,
        Streams::new(1),
        &|| false,
    )
    .unwrap();
    // The donors differ in the simulated effects, the chemistries in nothing.
    let spread = |of: &[f32]| -> f32 {
        let genes = (0..N_GENES).filter(|gene| [0, 2].contains(&(gene % 7)));
        let spread = genes.map(|gene| (of[gene] - of[N_GENES + gene]).abs());
        spread.sum::<f32>() / 57.0
    };
    assert!((0.8..1.2).contains(&spread(&start.log_ratios[0])));
    assert!(spread(&start.log_ratios[1]) < 0.2);

    let trained = fit(&view, &batch, &design, &settings()).unwrap();
    let run = |style: &[(usize, usize)]| rates(&trained.model, &view, &batch, style);
    let (own, as_first, same) = (run(&[]), run(&[(0, 0)]), run(&[(0, 0), (1, 0)]));
    let mut ratio = [0.0; 2];
    for cell in 0..view.n_cells() {
        let unchanged = batch[cell] == 0;
        for gene in 0..N_GENES {
            if unchanged {
                assert!((own[[gene, cell]] - same[[gene, cell]]).abs() < 1e-7);
            }
            if donor[cell] == 1 && gene % 7 == 0 {
                ratio[0] += as_first[[gene, cell]];
                ratio[1] += own[[gene, cell]];
            }
        }
    }
    assert!(
        ratio[0] / ratio[1] > 1.8,
        "{ratio:?}: about 2.4 times is true"
    );
}

#[test]
fn designs_that_do_not_fit_are_refused() {
    assert!(Design::new(vec![2], vec![vec![0], vec![2]]).is_err());
    assert!(
        Design::new(vec![2], vec![vec![0]]).is_err(),
        "a level without a batch"
    );
    assert!(Design::new(vec![2, 1], vec![vec![0], vec![1]]).is_err());
    assert!(Design::new(vec![], vec![]).is_err());
    assert!(Design::new(vec![], vec![vec![], vec![]]).is_err());
    let twice = vec![vec![0, 0], vec![1, 1], vec![0, 0]];
    assert!(Design::new(vec![2, 2], twice).is_err());
    let turned = vec![vec![1], vec![0]];
    assert!(
        Design::new(vec![2], turned).is_err(),
        "levels of the only covariate number the batches"
    );
    let s = simulate(&[&[10], &[0, 10]], 4);
    let view = filter(&s.matrix, 0, 0).unwrap();
    let design = Design::new(vec![2, 2], vec![vec![0, 0], vec![1, 1]]).unwrap();
    let separate = Settings {
        batch_masks: BatchMasks::Separate,
        ..settings()
    };
    assert!(fit(&view, &s.batch, &design, &separate).is_err());
}

#[test]
fn what_all_cells_of_a_batch_share_goes_through_the_mask() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for n_masks in [1, 3] {
        let masks: Vec<_> = (0..n_masks)
            .map(|_| ConnectionMask::random(70, 9, 3, &mut rng))
            .collect();
        let wiring = std::sync::Arc::new(wire(&masks));
        let mut draw =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (offsets, weights, d_out) = (draw(70 * 3), draw(wiring.n_slots()), draw(3 * 9));
        let tensor = |values: &[f32], shape: (usize, usize)| {
            Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
        };
        let weights = candle_core::Var::from_vec(weights, wiring.n_slots(), &Device::Cpu).unwrap();
        // Two rows side by side of one batch, and a batch without a row.
        let batches = [0, 2, 2];
        let out = sparse_shift(
            &Cpu,
            &tensor(&offsets, (3, 70)),
            &batches,
            &wiring,
            &weights,
        )
        .unwrap();
        let loss = (&out * tensor(&d_out, (3, 9))).unwrap().sum_all().unwrap();
        let gradient = loss.backward().unwrap();
        let gradient = gradient.get(&weights).unwrap().to_vec1::<f32>().unwrap();
        let (out, weights) = (
            out.to_vec2::<f32>().unwrap(),
            weights.to_vec1::<f32>().unwrap(),
        );
        let mut expected = vec![vec![0.0; 9]; 3];
        let mut d_weights = vec![0.0; wiring.n_slots()];
        for (b, row) in expected.iter_mut().enumerate() {
            for gene in 0..70 {
                let (units, slots) = wiring.mask(batches[b]).gene(gene);
                for (&unit, &slot) in units.iter().zip(slots) {
                    let x = f64::from(offsets[b * 70 + gene]);
                    row[usize::from(unit)] += x * f64::from(weights[slot as usize]);
                    d_weights[slot as usize] += x * f64::from(d_out[b * 9 + usize::from(unit)]);
                }
            }
        }
        for (got, want) in out.concat().iter().zip(expected.concat()) {
            assert!((f64::from(*got) - want).abs() < 1e-5);
        }
        for (&got, want) in gradient.iter().zip(d_weights) {
            assert!((f64::from(got) - want).abs() < 1e-5);
        }
    }
}
