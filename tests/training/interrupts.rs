//! Trainings that are stopped by whoever watches them.

use std::sync::atomic::{AtomicUsize, Ordering};

use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::filter;
use scvae::layers::connections_of_genes;
use scvae::model::{EpochRecord, Settings, Stopped};
use scvae::results::embed;
use scvae::saved::SavedModel;
use scvae::training::{Monitor, Trained, Training, TrainingCells};
use scvae::Error;

use crate::simulated::{fit, save, settings, simulated, watched_fit};

/// Stops some mini-batches after an epoch is finished.
struct StopAfter {
    epochs: AtomicUsize,
    steps: AtomicUsize,
}

impl Monitor for StopAfter {
    fn should_stop(&self) -> bool {
        let one_less = |n: usize| n.checked_sub(1);
        self.epochs.load(Ordering::Relaxed) == 0
            && self
                .steps
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                .is_err()
    }

    fn epoch_done(&self, _: &EpochRecord, _: usize) {
        self.epochs.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn an_interrupted_training_leaves_a_usable_model_or_none() {
    let (matrix, batch) = simulated(100, 100, 7);
    let view = filter(&matrix, 3, 1).unwrap();
    let stopped_after = |epochs: usize, steps: usize| {
        let monitor = StopAfter {
            epochs: AtomicUsize::new(epochs),
            steps: AtomicUsize::new(steps),
        };
        watched_fit(&view, &batch, &settings(), &monitor)
    };
    // Before the first epoch is over nothing was learned that could be returned.
    assert!(matches!(stopped_after(0, 0), Err(Error::Interrupted)));
    for (epochs, steps) in [(1, 0), (1, 2), (3, 1)] {
        let trained = stopped_after(epochs, steps).unwrap();
        assert_eq!(trained.history.stopped, Stopped::Interrupted);
        assert_eq!(trained.history.epochs.len(), epochs);
        // Those that the unfinished epoch began with, too: they are the model's.
        assert_eq!(trained.history.connections.len(), epochs + 1);
        let last = connections_of_genes(trained.model.wiring());
        assert_eq!(trained.history.connections[epochs], last);
        let embedding = embed(&trained.model, &view, &batch, &|| false).unwrap();
        assert!(embedding.mean.iter().all(|z| z.is_finite()));
        let bytes = save(trained, view.n_genes()).to_bytes().unwrap();
        assert!(SavedModel::from_bytes(&bytes).is_ok());
    }
}

#[test]
fn an_interrupt_before_training_leaves_no_start_to_go_on_from() {
    let (matrix, batch) = simulated(100, 100, 7);
    let view = filter(&matrix, 3, 1).unwrap();
    let design = Design::single(2);
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &design,
    };
    let settings = settings();
    // After each of the looks that it takes.
    for steps in 0..3 {
        let monitor = StopAfter {
            epochs: AtomicUsize::new(0),
            steps: AtomicUsize::new(steps),
        };
        let start = Training::new(cells, &settings, &Cpu, &monitor);
        assert!(matches!(start, Err(Error::Interrupted)), "{steps}");
    }
}

#[test]
fn an_epoch_whose_validation_is_interrupted_is_kept() {
    let (matrix, _) = simulated(100, 100, 7);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch = vec![0; view.n_cells()];
    let stopped_after = |steps: usize| {
        let monitor = StopAfter {
            epochs: AtomicUsize::new(0),
            steps: AtomicUsize::new(steps),
        };
        watched_fit(&view, &batch, &settings(), &monitor)
    };
    let trained = (0..20).find_map(|steps| stopped_after(steps).ok()).unwrap();
    assert_eq!(trained.history.stopped, Stopped::Interrupted);
    assert_eq!(trained.history.epochs.len(), 1);
    assert_eq!(trained.history.epochs[0].elbo_validation, None);
    let whole = fit(&view, &batch, &settings());
    let of_first = |trained: &Trained<Cpu>| trained.history.epochs[0].elbo_train;
    assert_eq!(of_first(&trained), of_first(&whole));
    assert!(whole.history.epochs[0].elbo_validation.is_some());
}

#[test]
fn any_number_of_epochs_can_be_asked_for() {
    let (matrix, batch) = simulated(60, 60, 14);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        max_epochs: Some(usize::MAX),
        ..settings()
    };
    let monitor = StopAfter {
        epochs: AtomicUsize::new(2),
        steps: AtomicUsize::new(0),
    };
    let trained = watched_fit(&view, &batch, &s, &monitor).unwrap();
    assert_eq!(trained.history.epochs.len(), 2);
}
