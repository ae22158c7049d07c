//! New batches for a trained model: a query is mapped to where the model's own cells of the same kind lie.

use std::ops::Range;

use candle_core::Tensor;

use super::{align, with_new_batches, CellGroups};
use crate::backend::{Backend, Cpu};
use crate::counts::CountsView;
use crate::model::{Mode, Settings, Vae};
use crate::results::{check_fit, Embedding, CHUNK};
use crate::sampling::{chunks, MiniBatch, Purpose, Streams};
use crate::training::{train_new_batches, Monitor, Trained};
use crate::{go_on, Error, Result, Stop};

/// Cells of a new batch that its sub-module of the encoder is set by.
const MOST_CELLS: usize = 2000;
/// Counts that a gene is taken to have had before, as many as the model expects.
const PRIOR: f64 = 2.0;

/// What is to be remembered of the cells that a model was trained with, so that [`map_batches`] can set new batches
/// against them: means of groups. `embedding` is what [`crate::results::embed`] gives for the view and its cells'
/// batches.
///
/// # Errors
/// [`Error::Argument`] when the view, the batches or the embedding do not fit the model, [`Error::Interrupted`] when asked
/// to stop.
///
/// ```
/// # use scvae::backend::Cpu;
/// # use scvae::batches::Design;
/// # use scvae::counts::filter;
/// # use scvae::model::Settings;
/// # use scvae::training::{train, Silent, TrainingCells};
/// use scvae::mapping::{map_batches, remember};
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
/// let model = train(cells, &settings, &Cpu, &Silent)?.model;
/// let embedding = embed(&model, &view, &batch, &|| false)?;
/// let remembered = remember(&model, &view, &batch, &embedding, &|| false)?;
/// assert!(remembered.latent.dim(0)? <= view.n_cells());
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn remember<B: Backend>(
    model: &Vae<B>,
    view: &CountsView,
    batch: &[usize],
    embedding: &Embedding,
    should_stop: Stop,
) -> Result<CellGroups> {
    check_fit(model, view, batch)?;
    if embedding.mean.dim() != (view.n_cells(), model.settings.n_latent) {
        return Err(Error::Argument(
            "the embedding is not that of the view's cells".into(),
        ));
    }
    let z: Vec<f32> = embedding.mean.iter().map(|&z| z as f32).collect();
    let shift = match &model.encoder.input_shift {
        Some(shift) => shift.flatten_all()?.to_vec1::<f32>()?,
        None => Vec::new(),
    };
    let mut rng = Streams::new(model.settings.seed).stream(Purpose::CellGroups, 0);
    let device = model.backend().device();
    CellGroups::of(view, batch, &z, &shift, &mut rng, device, should_stop)
}

/// Adds batches to a model and trains what is theirs: the encoder's input shift and sub-modules from the groups of cells
/// that are remembered, the genes' offsets from what it then expects of the new cells, and from there on the offsets
/// together with the decoder's sub-modules. All else stays as it is.
///
/// The view's genes are the model's; `batch` numbers the cells' batches from 0, `n_new` is their number. In the model
/// that is returned they follow its own. It takes seconds on a processor, where the model has to be.
///
/// # Errors
/// [`Error::Argument`] when the view does not fit, or the model has several covariates; [`Error::Interrupted`] when asked
/// to stop before anything was learned.
///
/// ```
/// # use scvae::backend::Cpu;
/// # use scvae::batches::Design;
/// # use scvae::counts::filter;
/// # use scvae::model::Settings;
/// # use scvae::training::{train, Silent, TrainingCells};
/// use scvae::mapping::{map_batches, remember};
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
/// let model = train(cells, &settings, &Cpu, &Silent)?.model;
/// let embedding = embed(&model, &view, &batch, &|| false)?;
/// let remembered = remember(&model, &view, &batch, &embedding, &|| false)?;
///
/// // As if these cells were those of a new batch; after the model's own two it is number 2.
/// let new = vec![0; view.n_cells()];
/// let mapped = map_batches(&model, &remembered, &view, &new, 1, &settings, &Silent)?.model;
/// let codes = vec![2; view.n_cells()];
/// assert_eq!(embed(&mapped, &view, &codes, &|| false)?.mean.dim(), (view.n_cells(), 2));
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn map_batches(
    model: &Vae,
    remembered: &CellGroups,
    view: &CountsView,
    batch: &[usize],
    n_new: usize,
    settings: &Settings,
    monitor: &dyn Monitor,
) -> Result<Trained<Cpu>> {
    let should_stop = || monitor.should_stop();
    let first = model.n_batches();
    let mapped = with_new_batches(model, n_new)?;
    let codes: Vec<usize> = batch.iter().map(|b| first + b).collect();
    check_fit(&mapped, view, &codes)?;
    let of_batches: Vec<Vec<usize>> = (0..n_new)
        .map(|b| (0..batch.len()).filter(|&c| batch[c] == b).collect())
        .collect();
    let mut groups = Vec::with_capacity(n_new);
    let mut differences = Vec::with_capacity(n_new);
    for cells in &of_batches {
        let of_cells = remembered.closest(view, cells, &should_stop)?;
        differences.push(remembered.difference(view, cells, &of_cells, &should_stop)?);
        groups.push(of_cells);
    }
    mapped.encoder.set_input_shift(first, &differences)?;
    for (b, (cells, groups)) in of_batches.iter().zip(&groups).enumerate() {
        let (hidden, groups) = hidden_units(&mapped, view, first + b, cells, groups, &should_stop)?;
        align(
            &mapped,
            remembered,
            &hidden,
            &groups,
            first + b,
            &should_stop,
        )?;
    }
    if !mapped.decoder.offsets.is_empty() {
        let ratios = log_ratios(&mapped, view, &codes, first..first + n_new, &should_stop)?;
        mapped.decoder.set_offsets(0, first, &ratios)?;
    }
    let settings = Settings {
        n_hidden: mapped.settings.n_hidden,
        n_latent: mapped.settings.n_latent,
        ..settings.clone()
    };
    train_new_batches(view, &codes, first, mapped, &settings, monitor)
}

/// What the encoder's sub-module of a batch reads of its cells, cells x hidden units, of at most [`MOST_CELLS`] cells,
/// evenly spaced; and their groups.
fn hidden_units(
    model: &Vae,
    view: &CountsView,
    batch: usize,
    cells: &[usize],
    groups: &[usize],
    should_stop: Stop,
) -> Result<(Tensor, Vec<usize>)> {
    let step = cells.len().div_ceil(MOST_CELLS).max(1);
    let cells: Vec<usize> = cells.iter().copied().step_by(step).collect();
    let groups = groups.iter().copied().step_by(step).collect();
    let codes = vec![batch; cells.len()];
    let mut parts = Vec::new();
    for (of_batches, _) in chunks(&cells, &codes, model.n_batches(), CHUNK) {
        go_on(0, should_stop)?;
        let minibatch = MiniBatch::gather(view, &of_batches, None);
        parts.push(model.encoder_hidden(&minibatch)?);
    }
    // Only the sub-module learns: nothing is to go back through what made its input.
    Ok((Tensor::cat(&parts, 0)?.detach(), groups))
}

/// Logarithms of observed over expected counts, per gene and new batch: a vector of genes for each.
fn log_ratios(
    model: &Vae,
    view: &CountsView,
    batch: &[usize],
    new: Range<usize>,
    should_stop: Stop,
) -> Result<Vec<Vec<f64>>> {
    let n_genes = model.n_genes();
    let mut observed = vec![vec![0.0; n_genes]; new.len()];
    let mut expected = vec![vec![0.0; n_genes]; new.len()];
    let cells: Vec<usize> = (0..view.n_cells()).collect();
    for (&cell, b) in cells.iter().zip(batch) {
        go_on(cell, should_stop)?;
        let of_batch = &mut observed[b - new.start];
        view.for_each_in_cell(cell, |gene, count| {
            of_batch[gene as usize] += f64::from(count);
        });
    }
    for (groups, order) in chunks(&cells, batch, model.n_batches(), CHUNK) {
        go_on(0, should_stop)?;
        let minibatch = MiniBatch::gather(view, &groups, None);
        let z = model.encode(&minibatch, &mut Mode::Evaluate)?.mean;
        let px = model.decode(&z, &minibatch.segments, &model.design)?;
        let shares = model.backend().px_scale(&px.scale)?.to_vec2::<f32>()?;
        let library: Vec<f64> = order.iter().map(|&cell| view.library(cell)).collect();
        for (gene, shares) in shares.iter().enumerate() {
            for ((&cell, &share), library) in order.iter().zip(shares).zip(&library) {
                expected[batch[cell] - new.start][gene] += library * f64::from(share);
            }
        }
    }
    let of_batches = observed.iter().zip(&expected);
    Ok(of_batches
        .map(|(observed, expected)| {
            let genes = observed.iter().zip(expected);
            genes
                .map(|(o, e)| ((o + PRIOR) / (e + PRIOR)).ln())
                .collect()
        })
        .collect())
}
