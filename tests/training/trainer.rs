//! Training as a whole.

use proptest::prelude::*;
use scvae::counts::filter;
use scvae::model::{EpochRecord, Settings, Stopped};
use scvae::results::embed;
use scvae::sampling::Sampling;
use scvae::training::{check_batch_sizes, Silent};
use scvae::Error;

use crate::common;
use crate::simulated::{fit, save, settings, simulated, watched_fit, N_TYPES};

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let (matrix, batch) = simulated(150, 300, 2);
    let view = filter(&matrix, 3, 1).unwrap();
    let bytes = |threads: usize, seed: u64| {
        let s = Settings {
            threads,
            seed,
            ..settings()
        };
        let trained = fit(&view, &batch, &s);
        let embedding = embed(&trained.model, &view, &batch, &|| false).unwrap();
        let saved = save(trained, view.n_genes());
        (saved.to_bytes().unwrap(), embedding.mean)
    };
    let one = bytes(1, 11);
    for threads in [2, 4] {
        assert_eq!(one, bytes(threads, 11), "{threads} threads");
    }
    assert_ne!(one.1, bytes(1, 12).1, "another seed");
}

#[test]
fn training_lowers_the_loss_and_separates_types() {
    let (matrix, _) = simulated(240, 120, 3);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch = vec![0; view.n_cells()];
    let s = Settings {
        max_epochs: Some(60),
        lr: 3e-3,
        n_epochs_kl_warmup: Some(60),
        ..settings()
    };
    let trained = fit(&view, &batch, &s);
    let epochs = &trained.history.epochs;
    assert_eq!(epochs.len(), 60);
    let (first, last) = (&epochs[0], &epochs[59]);
    assert!(last.elbo_train < first.elbo_train);
    assert!(last.elbo_validation.unwrap() < first.elbo_validation.unwrap());
    assert_eq!(first.kl_weight, 0.0);
    assert!(epochs.iter().take(5).all(|r| r.connections_changed > 0));
    assert_eq!(
        last.connections_changed, 0,
        "the last weights are trained on the last connections"
    );
    let z = embed(&trained.model, &view, &batch, &|| false)
        .unwrap()
        .mean;
    let nearest_is_same_type = (0..view.n_cells())
        .filter(|&i| {
            let distance = |j: usize| (&z.row(i) - &z.row(j)).mapv(|d| d * d).sum();
            let nearest = (0..view.n_cells())
                .filter(|&j| j != i)
                .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
                .unwrap();
            view.cells()[nearest] % N_TYPES == view.cells()[i] % N_TYPES
        })
        .count();
    assert!(
        nearest_is_same_type * 10 > 9 * view.n_cells(),
        "{nearest_is_same_type} of {} cells lie next to one of their type",
        view.n_cells()
    );
}

/// The loss of a fit is no number any more some epochs after the start, because the rate is absurd.
#[test]
fn what_diverges_returns_the_last_good_model() {
    let (matrix, batch) = simulated(100, 100, 8);
    let view = filter(&matrix, 3, 1).unwrap();
    let absurd = |lr: f64| Settings {
        lr,
        max_epochs: Some(60),
        ..settings()
    };
    let at_once = watched_fit(&view, &batch, &absurd(1e30), &Silent);
    match at_once {
        Err(Error::Numerical(message)) => assert!(message.contains("lr"), "{message}"),
        other => panic!("{:?}", other.map(|t| t.history.stopped)),
    }
    let rates = (0..40).map(|k| 0.5 * 1.5f64.powi(k));
    let mut late = rates.filter_map(|lr| watched_fit(&view, &batch, &absurd(lr), &Silent).ok());
    let trained = late.find(|t| t.history.stopped == Stopped::Diverged);
    let trained = trained.expect("between a good rate and one that fails at once there is one");
    assert!((1..60).contains(&trained.history.epochs.len()));
    for (id, tensor) in trained.model.snapshot().unwrap().tensors {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|x| x.is_finite()), "{id}");
    }
}

#[test]
fn the_weight_of_the_kl_term_rises_over_the_warm_up() {
    let s = Settings {
        kl_weight: 2.0,
        ..Settings::default()
    };
    assert_eq!(
        [1, 2, 3, 5, 9].map(|e| s.kl_weight_at(e, 4)),
        [0.0, 0.5, 1.0, 2.0, 2.0]
    );
    assert_eq!(
        s.kl_weight_at(1, 0),
        2.0,
        "without a warm-up it is whole from the start"
    );
    let (matrix, batch) = simulated(60, 60, 13);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        n_epochs_kl_warmup: Some(2),
        ..settings()
    };
    let epochs = fit(&view, &batch, &s).history.epochs;
    let weights: Vec<f64> = epochs.iter().map(|e| e.kl_weight).collect();
    assert_eq!(weights, [0.0, 0.5, 1.0, 1.0]);
}

#[test]
fn batches_too_small_to_learn_from_are_refused_by_name() {
    let names = ["first".to_string(), "second".to_string()];
    assert!(check_batch_sizes(&[0, 0, 0, 1, 1, 1], &names).is_ok());
    let message = check_batch_sizes(&[0, 0, 0, 1, 1], &names)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("second") && message.contains('2'),
        "{message}"
    );
}

#[test]
fn real_counts_are_embedded() {
    let Some(path) = common::test_data("pbmc_kang_ctrl") else {
        return;
    };
    let file = scvae::counts::CountsFile::read(path, None, &|| false).unwrap();
    let s = Settings {
        max_epochs: Some(3),
        threads: 2,
        ..Settings::default()
    };
    let view = filter(&file.matrix, s.min_cells, s.min_genes).unwrap();
    let trained = fit(&view, &vec![0; view.n_cells()], &s);
    let elbo: Vec<f64> = trained
        .history
        .epochs
        .iter()
        .map(|r: &EpochRecord| r.elbo_train)
        .collect();
    assert!(elbo[2] < elbo[0] && elbo[2] > 500.0, "{elbo:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_small_matrix_trains(
        n_cells in 2usize..40,
        n_genes in 2usize..40,
        batch_size in 2usize..50,
        n_hidden in 1usize..20,
        shuffle in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (matrix, _) = simulated(n_cells, n_genes, seed);
        if let Ok(view) = filter(&matrix, 1, 1) {
            let s = Settings {
                n_hidden,
                batch_size,
                sampling: if shuffle { Sampling::Shuffle } else { Sampling::Replacement },
                max_epochs: Some(2),
                seed,
                ..settings()
            };
            let batch = vec![0; view.n_cells()];
            let trained = watched_fit(&view, &batch, &s, &Silent).unwrap();
            let embedding = embed(&trained.model, &view, &batch, &|| false).unwrap();
            prop_assert!(embedding.mean.iter().all(|z| z.is_finite()));
        }
    }
}
