use scvae::counts::{filter, CountsView};
use scvae::model::{SavedModel, Settings};
use scvae::results::{embed, reconstruct, Output, Reconstruction};
use scvae::training::{train, Silent};

fn written(view: &CountsView, name: &str) -> (Vec<u8>, SavedModel, Vec<usize>) {
    let batches = batches(name);
    let n_batches = batches.names.len().max(1);
    let trained = train(view, &batches.codes, n_batches, &settings(name), &Silent).unwrap();
    let saved = SavedModel {
        model: trained.model,
        gene_names: gene_names(),
        batch_names: batches.names,
        history: trained.history,
    };
    (saved.to_bytes().unwrap(), saved, batches.codes)
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
        style: None,
        library: None,
        output,
    };
    reconstruct(&saved.model, view, &how).unwrap()
}
