//! Simulated cells of several kinds and batches, and models of them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Poisson;
use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::{CountMatrix, CountsView};
use scvae::model::{Settings, Vae};
use scvae::results::{reconstruct, Output, Reconstruction};
use scvae::training::{train, Silent, Trained, TrainingCells};
use scvae::Result;

pub const N_GENES: usize = 200;

/// Cells with a type and a batch. Types differ in blocks of genes; in batch `b`, genes with `gene % 7 == b` are
/// `exp(effect)` times as high.
pub struct Simulated {
    pub matrix: CountMatrix<'static>,
    pub kind: Vec<usize>,
    pub batch: Vec<usize>,
}

pub const EFFECT: f64 = 1.0;

/// `cells` are, for each batch, the numbers of cells of each kind.
pub fn simulate(cells: &[&[usize]], seed: u64) -> Simulated {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    let (mut kinds, mut batches) = (vec![], vec![]);
    let numbers = cells.iter().enumerate().flat_map(|(batch, of_kinds)| {
        let of_kinds = of_kinds.iter().enumerate();
        of_kinds.map(move |(kind, &n)| (kind, batch, n))
    });
    for (kind, batch, n) in numbers {
        for _ in 0..n {
            for gene in 0..N_GENES {
                let of_kind = if gene / 40 == kind { 8.0 } else { 1.0 };
                let of_batch = if gene % 7 == batch { EFFECT.exp() } else { 1.0 };
                let count: f64 = rng.sample(Poisson::new(0.5 * of_kind * of_batch).unwrap());
                if count > 0.0 {
                    genes.push(gene as u32);
                    values.push(count as f32);
                }
            }
            offsets.push(genes.len());
            kinds.push(kind);
            batches.push(batch);
        }
    }
    Simulated {
        matrix: CountMatrix::from_csr(offsets, genes, values, N_GENES).unwrap(),
        kind: kinds,
        batch: batches,
    }
}

pub fn settings() -> Settings {
    Settings {
        min_genes: 1,
        n_hidden: 32,
        n_latent: 4,
        max_epochs: Some(40),
        batch_size: 32,
        lr: 3e-3,
        seed: 3,
        ..Settings::default()
    }
}

pub fn fit(
    view: &CountsView,
    batch: &[usize],
    design: &Design,
    s: &Settings,
) -> Result<Trained<Cpu>> {
    let cells = TrainingCells {
        view,
        batch,
        design,
    };
    train(cells, s, &Cpu, &Silent)
}

/// Expected shares of all genes' counts, genes x cells, in the style of levels (covariate, level).
pub fn rates(
    model: &Vae,
    view: &CountsView,
    batch: &[usize],
    style: &[(usize, usize)],
) -> ndarray::Array2<f64> {
    let genes: Vec<usize> = (0..N_GENES).collect();
    let how = Reconstruction {
        genes: &genes,
        batch,
        style,
        library: Some(1.0),
        output: Output::Rate,
    };
    reconstruct(model, view, &how, &|| false).unwrap()
}
