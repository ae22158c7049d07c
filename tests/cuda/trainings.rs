//! Whole trainings on the card, held against the processor's.

use scvae::backend::{Backend, Cpu};
use scvae::batches::Design;
use scvae::counts::{filter, CountsView};
use scvae::kernels::Likelihood;
use scvae::layers::CriterionName;
use scvae::model::{BatchMasks, Settings};
use scvae::results::embed;
use scvae::training::{train, Silent, Trained, TrainingCells};

use crate::card;
use crate::problem::Problem;

fn trained<B: Backend>(backend: &B, problem: &Problem, settings: &Settings) -> Trained<B> {
    let (view, batch) = cells(problem);
    let design = Design::single(problem.groups.len());
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &design,
    };
    train(cells, settings, backend, &Silent).unwrap()
}

fn cells(problem: &Problem) -> (CountsView<'_>, Vec<usize>) {
    let view = filter(&problem.matrix, 0, 0).unwrap();
    let mut batch = vec![0; view.n_cells()];
    for (b, cells) in problem.groups.iter().enumerate() {
        cells.iter().for_each(|&cell| batch[cell] = b);
    }
    (view, batch)
}

#[test]
fn a_training_on_the_card_is_that_of_the_processor() {
    for (likelihood, batch_masks, criterion, cells, dropout_rate) in [
        (
            Likelihood::Zinb,
            BatchMasks::Shared,
            CriterionName::Deviance,
            &[60][..],
            0.1,
        ),
        (
            Likelihood::Zinb,
            BatchMasks::Shared,
            CriterionName::Dispersion,
            &[40, 30],
            0.0,
        ),
        (
            Likelihood::Nb,
            BatchMasks::Separate,
            CriterionName::Mse,
            &[40, 30],
            0.0,
        ),
        (
            Likelihood::Poisson,
            BatchMasks::Shared,
            CriterionName::LogMse,
            &[60],
            0.0,
        ),
    ] {
        let problem = Problem::new(40, 16, cells, 1);
        let settings = Settings {
            likelihood,
            batch_masks,
            criterion,
            dropout_rate,
            n_hidden: 16,
            n_latent: 3,
            batch_size: 32,
            max_epochs: Some(3),
            n_epochs_kl_warmup: Some(2),
            adjust_every: 2,
            early_stopping: true,
            ..Settings::default()
        };
        let (cpu, found) = (
            trained(&Cpu, &problem, &settings),
            trained(card(), &problem, &settings),
        );
        let name = format!("{likelihood:?}, {batch_masks:?}, {criterion:?}");
        assert!(
            cpu.history.epochs.iter().any(|e| e.connections_changed > 0),
            "{name}"
        );
        assert_eq!(found.model.masks(), cpu.model.masks(), "{name}");
        for (card, cpu) in found.history.epochs.iter().zip(&cpu.history.epochs) {
            let losses = |e: &scvae::model::EpochRecord| {
                [e.elbo_train, e.elbo_validation.unwrap(), e.kl_local_train]
            };
            for (card, cpu) in losses(card).into_iter().zip(losses(cpu)) {
                assert!(
                    (card - cpu).abs() < 1e-4 * cpu.abs(),
                    "{name}: {card}, not {cpu}"
                );
            }
        }
        // The model moves from one device to the other and back.
        let (view, batch) = self::cells(&problem);
        let there = embed(&found.model, &view, &batch, &|| false).unwrap();
        let moved = found.model.to_device(&Cpu).unwrap();
        let here = embed(&moved, &view, &batch, &|| false).unwrap();
        let back = embed(&moved.to_device(card()).unwrap(), &view, &batch, &|| false).unwrap();
        assert_eq!(there.mean, back.mean, "{name}");
        let apart = (&there.mean - &here.mean)
            .iter()
            .fold(0f64, |most, d| most.max(d.abs()));
        assert!(apart < 1e-4, "{name}: embeddings are {apart} apart");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let problem = Problem::new(40, 16, &[40, 30], 1);
    let settings = Settings {
        n_hidden: 16,
        n_latent: 3,
        batch_size: 32,
        max_epochs: Some(2),
        ..Settings::default()
    };
    let [first, second] = [(); 2].map(|()| trained(card(), &problem, &settings));
    let bits = |trained: &Trained<scvae::backend::Cuda>| {
        let tensors = trained.model.snapshot().unwrap().tensors.into_values();
        tensors
            .map(|t| crate::problem::bits(&t))
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&first), bits(&second));
}
