//! Cells -> latent space.

use ndarray::Array2;

use super::CHUNK;
use crate::counts::CountsView;
use crate::model::{Mode, Vae};
use crate::sampling::{chunks, MiniBatch};
use crate::{Error, Result, Stop};

/// Latent coordinates of cells, in the order of the view.
pub struct Embedding {
    /// Mean of q(z | x), cells x latent dimensions: the embedding.
    pub mean: Array2<f64>,
    /// Standard deviation of q(z | x), cells x latent dimensions.
    pub sd: Array2<f64>,
}

/// Embeds the cells of a view; `batch` is each cell's batch, in the model's numbering.
///
/// # Errors
/// [`Error::Argument`] when the view or the batches do not fit the model, [`Error::Interrupted`] when asked to stop.
pub fn embed(
    model: &Vae,
    view: &CountsView,
    batch: &[usize],
    should_stop: Stop,
) -> Result<Embedding> {
    check_fit(model, view, batch)?;
    let mut model = model.clone();
    let shape = (view.n_cells(), model.settings.n_latent);
    let mut embedding = Embedding {
        mean: Array2::zeros(shape),
        sd: Array2::zeros(shape),
    };
    let cells: Vec<usize> = (0..view.n_cells()).collect();
    for (groups, order) in chunks(&cells, batch, model.n_batches(), CHUNK) {
        if should_stop() {
            return Err(Error::Interrupted);
        }
        let minibatch = MiniBatch::gather(view, &groups, None);
        let posterior = model.encode(&minibatch, &mut Mode::Evaluate)?;
        let mean = posterior.mean.to_vec2::<f32>()?;
        let variance = posterior.variance.to_vec2::<f32>()?;
        for (row, &cell) in order.iter().enumerate() {
            for k in 0..shape.1 {
                embedding.mean[[cell, k]] = f64::from(mean[row][k]);
                embedding.sd[[cell, k]] = f64::from(variance[row][k]).sqrt();
            }
        }
    }
    Ok(embedding)
}

pub(super) fn check_fit(model: &Vae, view: &CountsView, batch: &[usize]) -> Result<()> {
    if view.n_genes() != model.n_genes() {
        return Err(Error::Argument(format!(
            "the model knows {} genes, the counts were aligned to {}",
            model.n_genes(),
            view.n_genes()
        )));
    }
    if batch.len() != view.n_cells() || batch.iter().any(|&b| b >= model.n_batches()) {
        return Err(Error::Argument(format!(
            "a batch code below {} is needed for each of the {} cells",
            model.n_batches(),
            view.n_cells()
        )));
    }
    Ok(())
}

/// The median of the cells' total counts in each batch; 0 for a batch without a cell.
pub fn median_library(view: &CountsView, batch: &[usize], n_batches: usize) -> Vec<f64> {
    let mut libraries = vec![Vec::new(); n_batches];
    for (cell, &b) in batch.iter().enumerate() {
        libraries[b].push(view.library(cell));
    }
    let medians = libraries.into_iter().map(|mut of_batch| {
        of_batch.sort_by(f64::total_cmp);
        let n = of_batch.len();
        match n {
            0 => 0.0,
            _ => (of_batch[(n - 1) / 2] + of_batch[n / 2]) / 2.0,
        }
    });
    medians.collect()
}
