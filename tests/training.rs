//! The whole model: its gradient, its training, its saved form and what comes out of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::counts::{filter, CountMatrix, CountsView};
use scvae::kernels::Workspace;
use scvae::likelihood::Likelihood;
use scvae::model::{
    BatchMasks, Covariate, Design, EpochRecord, Mode, SavedModel, Settings, Start, Stopped, Vae,
};
use scvae::results::{embed, reconstruct, repeat_fits, Output, Reconstruction};
use scvae::sampling::{MiniBatch, Sampling};
use scvae::training::{check_batch_sizes, train, with_threads, Monitor, Silent, Trained};
use scvae::{Error, Stop};

mod common;

const N_TYPES: usize = 3;
const NEVER: Stop = &|| false;

/// Cells of three types that differ in a third of the genes, in two batches that differ in every fifth gene.
fn simulated(n_cells: usize, n_genes: usize, seed: u64) -> (CountMatrix<'static>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut offsets, mut genes, mut values, mut batch) = (vec![0], vec![], vec![], vec![]);
    for cell in 0..n_cells {
        let b = (cell / N_TYPES) % 2;
        for gene in 0..n_genes {
            let mut mean = 0.4;
            if gene % N_TYPES == cell % N_TYPES && gene < n_genes / 2 {
                mean *= 6.0;
            }
            if b == 1 && gene % 5 == 0 {
                mean *= 2.0;
            }
            let poisson = rand_distr::Poisson::new(mean).unwrap();
            let count: f64 = rng.sample(poisson);
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count as f32);
            }
        }
        offsets.push(genes.len());
        batch.push(b);
    }
    (
        CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap(),
        batch,
    )
}

fn settings() -> Settings {
    Settings {
        min_genes: 1,
        n_hidden: 32,
        n_latent: 4,
        max_epochs: Some(4),
        batch_size: 32,
        seed: 11,
        ..Settings::default()
    }
}

fn fit(view: &CountsView, batch: &[usize], s: &Settings) -> Trained {
    let n_batches = batch.iter().max().unwrap() + 1;
    with_threads(s.threads, || {
        train(view, batch, &Design::single(n_batches), s, &Silent)
    })
    .unwrap()
}

fn save(trained: Trained, n_genes: usize) -> SavedModel {
    let levels = trained
        .model
        .design
        .n_levels()
        .first()
        .copied()
        .unwrap_or(0);
    let batch_names = vec!["a".to_string(), "b".to_string()][..levels].to_vec();
    let covariate = Covariate {
        name: "batch".into(),
        levels: batch_names.clone(),
    };
    SavedModel {
        gene_names: (0..n_genes).map(|g| format!("gene{g}")).collect(),
        covariates: vec![covariate; levels.min(1)],
        batch_names,
        batch_columns: vec!["donor".into(); levels.min(1)],
        library: vec![1.0; trained.model.n_batches()],
        model: trained.model,
        history: trained.history,
    }
}

#[test]
fn gradient_of_the_whole_loss() {
    let (matrix, batch) = simulated(12, 14, 1);
    let view = filter(&matrix, 0, 0).unwrap();
    let groups: Vec<Vec<usize>> = (0..2)
        .map(|b| (0..12).filter(|&c| batch[c] == b).collect())
        .collect();
    let minibatch = MiniBatch::gather(&view, &groups, None);
    let noise: Vec<f32> = (0..12 * 2)
        .map(|i| ((i * 37 % 19) as f32 - 9.0) / 9.0)
        .collect();
    let noise = Tensor::from_vec(noise, (12, 2), &Device::Cpu).unwrap();
    for likelihood in [Likelihood::Zinb, Likelihood::Nb] {
        let s = Settings {
            n_hidden: 8,
            n_latent: 2,
            likelihood,
            alpha_init: 0.4,
            ..settings()
        };
        let design = Design::single(2);
        let mut start = Start::flat(14, &design);
        for (i, x) in start.centre.iter_mut().enumerate() {
            *x = 0.1 * (i % 5) as f32 - 0.2;
        }
        let mut model = Vae::new(&s, &design, &start, &Device::Cpu).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut mode = Mode::Train {
            dropout_rate: 0.0,
            rng: &mut rng,
        };
        let mut workspace = Workspace::default();
        let loss = model
            .loss(&minibatch, &noise, &mut mode, &mut workspace)
            .unwrap();
        let gradients = loss.gradients(0.5, &workspace).unwrap();
        let parameters = model.parameters();
        assert!(parameters.len() > 20);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for (name, var) in &parameters {
            let gradient = gradients.to_vec(name, var).unwrap().unwrap();
            let start = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let largest = gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
            // Along the gradient itself the difference is largest, and so least disturbed by rounding.
            let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            if length < 1e-4 {
                // The sparse layer's bias is undone by the normalisation that follows it.
                assert!(name.ends_with("bias"), "{name} has no gradient");
                continue;
            }
            let mut along = |h: f32| {
                let moved: Vec<f32> = start
                    .iter()
                    .zip(&gradient)
                    .map(|(p, g)| p + h * g / length)
                    .collect();
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap())
                    .unwrap();
                let mut mode = Mode::Train {
                    dropout_rate: 0.0,
                    rng: &mut rng,
                };
                let mut workspace = Workspace::default();
                let loss = model.loss(&minibatch, &noise, &mut mode, &mut workspace);
                let total = loss.unwrap().total(0.5).unwrap();
                f64::from(total.to_scalar::<f32>().unwrap())
            };
            let h = 4e-3;
            let difference = (along(h) - along(-h)) / f64::from(2.0 * h);
            along(0.0);
            let error = (difference - f64::from(length)).abs();
            assert!(
                error < 0.03 * f64::from(length) + 5e-3,
                "{likelihood:?} {name}: {length} by back-propagation, {difference} by differences (largest {largest})"
            );
        }
    }
}

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
        let embedding = embed(&trained.model, &view, &batch, NEVER).unwrap();
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
    let z = embed(&trained.model, &view, &batch, NEVER).unwrap().mean;
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

#[test]
fn masks_of_batches_start_equal_and_part() {
    let (matrix, batch) = simulated(150, 200, 4);
    let view = filter(&matrix, 3, 1).unwrap();
    let separate = Settings {
        batch_masks: BatchMasks::Separate,
        ..settings()
    };
    let trained = fit(&view, &batch, &separate);
    let masks = trained.model.masks();
    assert_eq!(masks.len(), 2);
    assert_ne!(masks[0], masks[1]);
    let n_init = settings().adjustment_rules().n_init(32);
    for mask in &masks {
        assert_eq!(mask.total(), n_init * view.n_genes());
    }
    assert_eq!(fit(&view, &batch, &settings()).model.masks().len(), 1);
}

#[test]
fn saved_models_come_back_as_they_were() {
    let (matrix, batch) = simulated(100, 150, 5);
    let view = filter(&matrix, 3, 1).unwrap();
    for fc_layer in [true, false] {
        for sampling in [Sampling::Replacement, Sampling::Shuffle] {
            let s = Settings {
                fc_layer,
                sampling,
                ..settings()
            };
            let trained = fit(&view, &batch, &s);
            let before = embed(&trained.model, &view, &batch, NEVER).unwrap();
            let saved = save(trained, view.n_genes());
            let bytes = saved.to_bytes().unwrap();
            let back = SavedModel::from_bytes(&bytes).unwrap();
            assert!(
                back.to_bytes().unwrap() == bytes,
                "other bytes after a round trip"
            );
            let mut history = saved.history;
            history.epochs.iter_mut().for_each(|r| r.seconds = None);
            assert_eq!(back.history, history);
            assert_eq!(back.gene_names, saved.gene_names);
            assert_eq!(back.batch_columns, saved.batch_columns);
            let after = embed(&back.model, &view, &batch, NEVER).unwrap();
            assert_eq!(before.mean, after.mean);
            assert_eq!(before.sd, after.sd);
        }
    }
}

#[test]
fn damaged_and_foreign_models_are_refused() {
    let (matrix, batch) = simulated(60, 80, 6);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        max_epochs: Some(1),
        ..settings()
    };
    let bytes = save(fit(&view, &batch, &s), view.n_genes())
        .to_bytes()
        .unwrap();
    let refused = |bytes: &[u8]| matches!(SavedModel::from_bytes(bytes), Err(Error::Model(_)));
    assert!(refused(&[]));
    assert!(refused(b"not a model at all"));
    for cut in [1, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(refused(&bytes[..cut]), "the first {cut} bytes");
    }
    let mut nameless = save(fit(&view, &batch, &s), view.n_genes());
    nameless.batch_names.pop();
    assert!(refused(&nameless.to_bytes().unwrap()));
    let newer = String::from_utf8_lossy(&bytes[8..200])
        .find("format")
        .unwrap();
    let mut other = bytes.clone();
    let digit = (newer + 8..bytes.len())
        .find(|&i| other[i].is_ascii_digit())
        .unwrap();
    other[digit] = b'9';
    let message = SavedModel::from_bytes(&other).unwrap_err().to_string();
    assert!(message.contains("format 9"), "{message}");
    let writer = format!("by scVAE {}", SavedModel::version());
    assert!(message.contains(&writer), "{message}");
}

/// Stops after a number of mini-batches.
struct StopAfter {
    left: AtomicUsize,
}

impl Monitor for StopAfter {
    fn should_stop(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_err()
    }
}

/// Stops when a number of epochs are over.
struct StopAfterEpochs {
    left: AtomicUsize,
}

impl Monitor for StopAfterEpochs {
    fn should_stop(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn epoch_done(&self, _: &EpochRecord, _: usize) {
        self.left.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn without_a_whole_epoch_there_is_nothing_to_return() {
    let (matrix, batch) = simulated(600, 60, 7);
    let view = filter(&matrix, 3, 1).unwrap();
    // More than one mini-batch an epoch, so that the last stop is within the first epoch.
    let s = Settings {
        batch_size: 100,
        ..settings()
    };
    for steps in [0, 1, 4] {
        let monitor = |_| StopAfter {
            left: AtomicUsize::new(steps),
        };
        let design = Design::single(2);
        let trained = train(&view, &batch, &design, &s, &monitor(0));
        assert!(matches!(trained, Err(Error::Interrupted)), "{steps} steps");
        let repeats = repeat_fits(&view, &batch, &design, &s, 2, monitor);
        assert!(matches!(repeats, Err(Error::Interrupted)), "{steps} steps");
    }
}

#[test]
fn embedding_and_reconstruction_stop_when_asked() {
    let (matrix, batch) = simulated(300, 60, 7);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        max_epochs: Some(1),
        ..settings()
    };
    let model = fit(&view, &batch, &s).model;
    let how = Reconstruction {
        genes: &[0, 1],
        batch: &batch,
        style: &[],
        library: None,
        output: Output::Scale,
    };
    // Asked in the middle, too: the cells are more than one chunk.
    for looks in [0, 1] {
        let monitor = || StopAfter {
            left: AtomicUsize::new(looks),
        };
        let (first, second) = (monitor(), monitor());
        let embedded = embed(&model, &view, &batch, &|| first.should_stop());
        assert!(matches!(embedded, Err(Error::Interrupted)), "{looks} looks");
        let reconstructed = reconstruct(&model, &view, &how, &|| second.should_stop());
        assert!(
            matches!(reconstructed, Err(Error::Interrupted)),
            "{looks} looks"
        );
    }
}

#[test]
fn an_interrupted_training_leaves_a_usable_model() {
    let (matrix, batch) = simulated(100, 100, 7);
    let view = filter(&matrix, 3, 1).unwrap();
    for epochs in [1, 3] {
        let monitor = StopAfterEpochs {
            left: AtomicUsize::new(epochs),
        };
        let trained = train(&view, &batch, &Design::single(2), &settings(), &monitor).unwrap();
        assert_eq!(trained.history.stopped, Stopped::Interrupted);
        assert_eq!(trained.history.epochs.len(), epochs);
        let embedding = embed(&trained.model, &view, &batch, NEVER).unwrap();
        assert!(embedding.mean.iter().all(|z| z.is_finite()));
        let bytes = save(trained, view.n_genes()).to_bytes().unwrap();
        assert!(SavedModel::from_bytes(&bytes).is_ok());
    }
}

#[test]
fn early_stopping_returns_the_best_epoch_s_model() {
    let (matrix, batch) = simulated(90, 60, 8);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        early_stopping: true,
        early_stopping_patience: 5,
        train_size: 0.6,
        // Overfits at once.
        lr: 0.05,
        max_epochs: Some(200),
        ..settings()
    };
    let trained = fit(&view, &batch, &s);
    let history = &trained.history;
    assert_eq!(history.stopped, Stopped::EarlyStopping);
    let best = history.best_epoch.unwrap();
    assert_eq!(history.epochs.len(), best + 5);
    let of = |e: usize| history.epochs[e - 1].elbo_validation.unwrap();
    assert!((1..=history.epochs.len()).all(|e| of(best) <= of(e)));
    let again = Settings {
        early_stopping: false,
        max_epochs: Some(best),
        n_epochs_kl_warmup: Some(200),
        ..s.clone()
    };
    let at_best = fit(&view, &batch, &again);
    assert_eq!(
        embed(&trained.model, &view, &batch, NEVER).unwrap().mean,
        embed(&at_best.model, &view, &batch, NEVER).unwrap().mean,
        "stopping early and training no longer are the same"
    );
}

#[test]
fn reconstruction_and_style_transfer() {
    let (matrix, batch) = simulated(300, 90, 9);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch: Vec<usize> = view.cells().iter().map(|&c| batch[c]).collect();
    let s = Settings {
        max_epochs: Some(80),
        lr: 5e-3,
        ..settings()
    };
    let trained = fit(&view, &batch, &s);
    let all: Vec<usize> = (0..view.n_genes()).collect();
    let run = |genes: &[usize], style: &[(usize, usize)], library, output| {
        let how = Reconstruction {
            genes,
            batch: &batch,
            style,
            library,
            output,
        };
        reconstruct(&trained.model, &view, &how, NEVER).unwrap()
    };
    let scale = run(&all, &[], None, Output::Scale);
    let rate = run(&all, &[], None, Output::Rate);
    let fixed = run(&all, &[], Some(1e4), Output::Rate);
    let dropout = run(&all, &[], None, Output::Dropout);
    for cell in 0..view.n_cells() {
        assert!((scale.column(cell).sum() - 1.0).abs() < 1e-4);
        assert!((rate.column(cell).sum() / view.library(cell) - 1.0).abs() < 1e-4);
        assert!((fixed.column(cell).sum() / 1e4 - 1.0).abs() < 1e-4);
    }
    assert!(dropout.iter().all(|p| (0.0..=1.0).contains(p)));
    let few = run(&[7, 3], &[], None, Output::Rate);
    assert_eq!(few.row(0), rate.row(7));
    assert_eq!(few.row(1), rate.row(3));
    // In its own batch's style a cell is what it was; in the other's, that batch's genes rise.
    let as_second = run(&all, &[(0, 1)], None, Output::Scale);
    let mut ratio = (0.0, 0.0);
    for cell in 0..view.n_cells() {
        if batch[cell] == 1 {
            for gene in 0..view.n_genes() {
                let (own, styled) = (scale[[gene, cell]], as_second[[gene, cell]]);
                assert!((own - styled).abs() <= 1e-6 * own.max(1e-6));
            }
        } else {
            for gene in (0..view.n_genes()).filter(|&g| view.genes()[g].is_multiple_of(5)) {
                ratio.0 += as_second[[gene, cell]];
                ratio.1 += scale[[gene, cell]];
            }
        }
    }
    assert!(
        ratio.0 / ratio.1 > 1.3,
        "{} times as high, about 1.7 is true",
        ratio.0 / ratio.1
    );
}

#[test]
fn cells_that_come_in_any_order_keep_their_rows() {
    let (matrix, batch) = simulated(300, 50, 10);
    let view = filter(&matrix, 0, 0).unwrap();
    let s = Settings {
        max_epochs: Some(2),
        ..settings()
    };
    let trained = fit(&view, &batch, &s);
    let all = embed(&trained.model, &view, &batch, NEVER).unwrap().mean;
    let order: Vec<usize> = (0..300).rev().collect();
    let positions: Vec<Option<u32>> = (0..50).map(Some).collect();
    let reversed = CountsView::new(&matrix, order.clone(), &positions, 50).unwrap();
    let codes: Vec<usize> = order.iter().map(|&c| batch[c]).collect();
    let back = embed(&trained.model, &reversed, &codes, NEVER)
        .unwrap()
        .mean;
    for (row, &cell) in order.iter().enumerate() {
        for k in 0..4 {
            assert!((back[[row, k]] - all[[cell, k]]).abs() < 1e-5);
        }
    }
}

#[test]
fn repeated_fits_start_apart() {
    let (matrix, _) = simulated(60, 80, 12);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch = vec![0; view.n_cells()];
    let repeats = repeat_fits(&view, &batch, &Design::single(1), &settings(), 3, |_| {
        Silent
    })
    .unwrap();
    assert_eq!(repeats.connections.dim(), (view.n_genes(), 3));
    let n_init = settings().adjustment_rules().n_init(32) as f64;
    let distinct: HashSet<Vec<u64>> = (0..3)
        .map(|r| {
            repeats
                .connections
                .column(r)
                .iter()
                .map(|x| x.to_bits())
                .collect()
        })
        .collect();
    assert_eq!(distinct.len(), 3);
    for column in repeats.connections.columns() {
        assert_eq!(column.sum(), n_init * view.n_genes() as f64);
    }
}

#[test]
fn a_model_of_nineteen_thousand_genes_is_smaller_than_the_paper_s() {
    let design = Design::single(1);
    let start = Start::flat(19_000, &design);
    let model = Vae::new(&Settings::default(), &design, &start, &Device::Cpu).unwrap();
    let (g, h, l) = (19_000, 128, 10);
    let dense = |i: usize, o: usize| i * o + o;
    let expected = 3 * 25 * g + h + 3 * 2 * h + dense(h, h) + 2 * dense(h, l) + dense(l, h) + 3 * g;
    assert_eq!(model.n_parameters(), expected);
    assert!(model.n_parameters() < 3_090_000);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    type Change = fn(&mut Settings);
    let cases: [(&str, Change); 12] = [
        ("n_hidden", |s| s.n_hidden = 0),
        ("n_latent", |s| s.n_latent = 0),
        ("alpha_min", |s| s.alpha_min = 0.3),
        ("alpha_init", |s| s.alpha_init = 0.6),
        ("n_al", |s| s.n_al = 1.5),
        ("batch_size", |s| s.batch_size = 1),
        ("train_size", |s| s.train_size = 0.0),
        ("max_epochs", |s| s.max_epochs = Some(0)),
        ("lr", |s| s.lr = f64::NAN),
        ("dropout_rate", |s| s.dropout_rate = 1.0),
        ("depth_range", |s| s.depth_range = 1.0),
        ("kl_weight", |s| s.kl_weight = -1.0),
    ];
    for (name, change) in cases {
        let mut s = Settings::default();
        change(&mut s);
        match s.check() {
            Err(Error::Argument(message)) => assert!(message.starts_with(name), "{message}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(Settings::default().check().is_ok());
    let unknown = serde_json::from_str::<Settings>(r#"{"n_layers": 2}"#).unwrap_err();
    assert!(unknown.to_string().contains("n_layers"));
}

#[test]
fn the_default_length_of_training_falls_with_the_number_of_cells() {
    let s = Settings::default();
    assert_eq!([10, 859, 2000].map(|n| s.epochs(n)), [150; 3]);
    assert_eq!(s.epochs(8_000), 75);
    assert_eq!(s.epochs(1_000_000), 40);
    let given = Settings {
        max_epochs: Some(7),
        ..s
    };
    assert_eq!(given.epochs(100), 7);
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
    let file = scvae::counts::CountsFile::read(path, None).unwrap();
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
            let trained = train(&view, &batch, &Design::single(1), &s, &Silent).unwrap();
            let embedding = embed(&trained.model, &view, &batch, NEVER).unwrap();
            prop_assert!(embedding.mean.iter().all(|z| z.is_finite()));
        }
    }
}
