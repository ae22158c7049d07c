use scvae::counts::{filter, CountsView};
use scvae::model::{Covariate, Design, SavedModel, Settings};
use scvae::results::{embed, median_library, reconstruct, Output, Reconstruction};
use scvae::training::{train, Silent, Trained};

fn written(view: &CountsView, name: &str) -> (Vec<u8>, SavedModel, Vec<usize>) {
    let batches = batches(name);
    let n_levels = batches.covariates.iter().map(|c| c.1.len()).collect();
    let design = Design::new(n_levels, batches.levels).unwrap();
    let mut trained = train(view, &batches.codes, &design, &settings(name), &Silent).unwrap();
    if !name.contains("forgets") {
        remember_cells(&mut trained, view, &batches.codes);
    }
    let covariates = batches.covariates.into_iter();
    let mut saved = SavedModel {
        library: median_library(view, &batches.codes, design.n_batches()),
        model: trained.model,
        gene_names: gene_names(),
        batch_names: batches.names,
        covariates: covariates.map(|(name, levels)| Covariate { name, levels }).collect(),
        history: trained.history,
    };
    let mut codes = batches.codes;
    if name.contains("mapped") {
        map_all(&mut saved, view, &settings(name));
        codes = vec![1; N_CELLS];
    }
    (saved.to_bytes().unwrap(), saved, codes)
}

fn latent(saved: &SavedModel, view: &CountsView, batch: &[usize]) -> ndarray::Array2<f64> {
    embed(&saved.model, view, batch).unwrap().mean
}

fn reconstructed(
    saved: &SavedModel,
    view: &CountsView,
    batch: &[usize],
    output: Output,
) -> ndarray::Array2<f64> {
    let genes: Vec<usize> = (0..N_GENES).collect();
    let how = Reconstruction {
        genes: &genes,
        batch,
        style: &[],
        library: None,
        output,
    };
    reconstruct(&saved.model, view, &how).unwrap()
}
