//! Whole trainings on the card, held against the processor's.

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Poisson;
use scvae::backend::{Backend, Cpu, HeadProducts};
use scvae::batches::Design;
use scvae::counts::{filter, CountMatrix, CountsView};
use scvae::kernels::Likelihood;
use scvae::layers::CriterionName;
use scvae::model::{BatchMasks, Settings};
use scvae::results::embed;
use scvae::training::{train, Silent, Trained, TrainingCells};

use crate::problem::Problem;
use crate::{card, error, tf32};

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
        // Connections go by the order of genes, which ten bits need not keep.
        if !tf32() {
            assert_eq!(found.model.masks(), cpu.model.masks(), "{name}");
        }
        for (card, cpu) in found.history.epochs.iter().zip(&cpu.history.epochs) {
            let losses = |e: &scvae::model::EpochRecord| {
                [e.elbo_train, e.elbo_validation.unwrap(), e.kl_local_train]
            };
            for (card, cpu) in losses(card).into_iter().zip(losses(cpu)) {
                assert!(
                    (card - cpu).abs() < error(1e-4) * cpu.abs(),
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
        assert!(
            apart < 10.0 * error(1e-5),
            "{name}: embeddings are {apart} apart"
        );
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
    let fetches = card().clone().with_counts_of_at_most(0);
    let sparse = card().clone().with_head_products(HeadProducts::Sparse);
    let [first, second, fetched, by_connections, again] =
        [card(), card(), &fetches, &sparse, &sparse].map(|card| trained(card, &problem, &settings));
    let bits = |trained: &Trained<scvae::backend::Cuda>| {
        let tensors = trained.model.snapshot().unwrap().tensors.into_values();
        tensors
            .map(|t| crate::problem::bits(&t))
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&first), bits(&second));
    assert_eq!(
        bits(&first),
        bits(&fetched),
        "counts that are fetched step by step"
    );
    assert_eq!(bits(&by_connections), bits(&again), "sparse products");
    let losses = [&first, &by_connections].map(|found| found.history.epochs[1].elbo_train);
    assert!(
        (losses[0] - losses[1]).abs() < error(1e-4) * losses[0].abs(),
        "dense and sparse products: {losses:?}"
    );
}

/// Counts of cells of four types, which differ in every fourth gene, and the types.
fn of_four_types(n_cells: usize, n_genes: usize) -> (CountMatrix<'static>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for cell in 0..n_cells {
        for gene in 0..n_genes {
            let mean = if gene % 4 == cell % 4 { 0.7 } else { 0.4 };
            let count: f64 = rng.sample(Poisson::new(mean).unwrap());
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count as f32);
            }
        }
        offsets.push(genes.len());
    }
    let matrix = CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap();
    (matrix, (0..n_cells).map(|cell| cell % 4).collect())
}

/// The share of cells whose nearest neighbour is of their type.
fn purity(z: &Array2<f64>, types: &[usize]) -> f64 {
    let apart = |a: usize, b: usize| (&z.row(a) - &z.row(b)).mapv(|d| d * d).sum();
    let of_own_type = (0..types.len()).filter(|&cell| {
        let others = (0..types.len()).filter(|&other| other != cell);
        let nearest = others.min_by(|&a, &b| apart(cell, a).total_cmp(&apart(cell, b)));
        nearest.is_some_and(|nearest| types[nearest] == types[cell])
    });
    of_own_type.count() as f64 / types.len() as f64
}

#[test]
#[ignore = "for a real card: takes minutes where the processor plays it"]
fn twenty_epochs_find_the_types_as_well_as_on_the_processor() {
    let (matrix, types) = of_four_types(1000, 1500);
    let view = filter(&matrix, 0, 0).unwrap();
    let (batch, design) = (vec![0; 1000], Design::single(1));
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &design,
    };
    let settings = Settings {
        max_epochs: Some(20),
        ..Settings::default()
    };
    let [cpu, found] = [
        {
            let cpu = train(cells, &settings, &Cpu, &Silent).unwrap();
            embed(&cpu.model, &view, &batch, &|| false).unwrap().mean
        },
        {
            let found = train(cells, &settings, card(), &Silent).unwrap();
            embed(&found.model, &view, &batch, &|| false).unwrap().mean
        },
    ]
    .map(|z| purity(&z, &types));
    println!("nearest neighbours of the same type: {found} on the card, {cpu} on the processor");
    assert!(
        cpu > 0.6,
        "the processor's embedding shows the types: {cpu}"
    );
    assert!(
        (found - cpu).abs() < 0.05,
        "{found} on the card, {cpu} on the processor"
    );
}
