//! Cells -> latent space.

use ndarray::Array2;

use super::CHUNK;
use crate::backend::Backend;
use crate::counts::{CountMatrix, CountsView};
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
///
/// ```
/// # use scvae::backend::Cpu;
/// # use scvae::batches::Design;
/// # use scvae::counts::filter;
/// # use scvae::model::Settings;
/// # use scvae::training::{train, Silent, TrainingCells};
/// use scvae::results::embed;
///
/// # let values = (0..40 * 12).map(|i| (i * i % 7 * ((i / 12 + i) % 2)) as f32).collect();
/// # let genes = (0..40).flat_map(|_cell| 0..12).collect();
/// # let offsets = (0..=40).map(|cell| 12 * cell).collect();
/// # let matrix = scvae::counts::CountMatrix::from_csr(offsets, genes, values, 12)?;
/// # let view = filter(&matrix, 3, 2)?;
/// # let batch: Vec<usize> = (0..view.n_cells()).map(|cell| cell / 2 % 2).collect();
/// # let cells = TrainingCells { view: &view, batch: &batch, design: &Design::single(2) };
/// # let settings = Settings { n_hidden: 16, n_latent: 2, max_epochs: Some(2), ..Settings::default() };
/// let trained = train(cells, &settings, &Cpu, &Silent)?;
/// let embedding = embed(&trained.model, &view, &batch, &|| false)?;
/// assert_eq!(embedding.mean.dim(), (view.n_cells(), settings.n_latent));
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn embed<B: Backend>(
    model: &Vae<B>,
    view: &CountsView,
    batch: &[usize],
    should_stop: Stop,
) -> Result<Embedding> {
    check_fit(model, view, batch)?;
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
        let variance = posterior.variance()?.to_vec2::<f32>()?;
        for (row, &cell) in order.iter().enumerate() {
            for k in 0..shape.1 {
                embedding.mean[[cell, k]] = f64::from(mean[row][k]);
                embedding.sd[[cell, k]] = f64::from(variance[row][k]).sqrt();
            }
        }
    }
    Ok(embedding)
}

/// Adds the cells of a matrix that the filter kept from the training to the embedding of the others, by the same encoder;
/// rows are then those of the matrix. `batch` is the batch of every cell of the matrix. What is known of the trained cells
/// is taken over as it is: the last bits depend on which cells are computed together.
///
/// # Errors
/// As [`embed`].
pub fn embed_filtered<B: Backend>(
    model: &Vae<B>,
    matrix: &CountMatrix,
    trained: &CountsView,
    batch: &[usize],
    embedding: Embedding,
    should_stop: Stop,
) -> Result<Embedding> {
    let mut is_trained = vec![false; matrix.n_cells()];
    for &cell in trained.cells() {
        is_trained[cell] = true;
    }
    let others: Vec<usize> = (0..matrix.n_cells()).filter(|&c| !is_trained[c]).collect();
    if others.is_empty() {
        return Ok(embedding);
    }
    let mut positions = vec![None; matrix.n_genes()];
    for (position, gene) in trained.genes().into_iter().enumerate() {
        positions[gene] = Some(position as u32);
    }
    let view = CountsView::new(matrix, others, &positions, trained.n_genes())?;
    let codes: Vec<usize> = view.cells().iter().map(|&c| batch[c]).collect();
    let added = embed(model, &view, &codes, should_stop)?;
    let together = |of_trained: &Array2<f64>, of_others: &Array2<f64>| {
        let mut all = Array2::zeros((matrix.n_cells(), of_trained.ncols()));
        for (cells, rows) in [(trained.cells(), of_trained), (view.cells(), of_others)] {
            for (&cell, row) in cells.iter().zip(rows.rows()) {
                all.row_mut(cell).assign(&row);
            }
        }
        all
    };
    Ok(Embedding {
        mean: together(&embedding.mean, &added.mean),
        sd: together(&embedding.sd, &added.sd),
    })
}

/// Whether a view's genes and batches are a model's.
pub(crate) fn check_fit<B: Backend>(
    model: &Vae<B>,
    view: &CountsView,
    batch: &[usize],
) -> Result<()> {
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
