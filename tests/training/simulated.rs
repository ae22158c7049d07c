//! Simulated counts, and models of them.

use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::{CountMatrix, CountsView};
use scvae::model::Settings;
use scvae::saved::{Covariate, SavedModel};
use scvae::training::{train, with_threads, Monitor, Silent, Trained, TrainingCells};

pub const N_TYPES: usize = 3;

/// Cells of three types that differ in a third of the genes, in two batches that differ in every fifth gene.
pub fn simulated(n_cells: usize, n_genes: usize, seed: u64) -> (CountMatrix<'static>, Vec<usize>) {
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

/// Counts of a view, genes x cells.
pub fn dense(view: &CountsView) -> Vec<Vec<f32>> {
    let mut counts = vec![vec![0.0; view.n_cells()]; view.n_genes()];
    (0..view.n_cells()).for_each(|cell| {
        view.for_each_in_cell(cell, |gene, x| counts[gene as usize][cell] = x);
    });
    counts
}

pub fn settings() -> Settings {
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

pub fn fit(view: &CountsView, batch: &[usize], s: &Settings) -> Trained<Cpu> {
    with_threads(s.threads, || watched_fit(view, batch, s, &Silent)).unwrap()
}

pub fn watched_fit(
    view: &CountsView,
    batch: &[usize],
    s: &Settings,
    monitor: &dyn Monitor,
) -> scvae::Result<Trained<Cpu>> {
    let n_batches = batch.iter().max().unwrap() + 1;
    let cells = TrainingCells {
        view,
        batch,
        design: &Design::single(n_batches),
    };
    train(cells, s, &Cpu, monitor)
}

pub fn save(trained: Trained<Cpu>, n_genes: usize) -> SavedModel {
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
        library: vec![1.0; trained.model.n_batches()],
        model: trained.model,
        cell_groups: None,
        batch_columns: Vec::new(),
        history: trained.history,
        evidence: None,
        expression: None,
    }
}
