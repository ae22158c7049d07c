//! New batches for a trained model: a query is mapped to where the model's own cells of the same kind lie.

use std::ops::Range;

use candle_core::{Result as CandleResult, Tensor};

use super::embedding::{check_fit, Embedding};
use super::CHUNK;
use crate::counts::CountsView;
use crate::likelihood::px_scale;
use crate::model::{Anchors, Mode, Settings, Vae};
use crate::sampling::{chunks, MiniBatch, Purpose, Streams};
use crate::training::{align, train_new_batches, Monitor, Trained};
use crate::{Error, Result};

/// Cells of a new batch that its sub-module of the encoder is set by.
const MOST_CELLS: usize = 2000;
/// Cells compared with the model's groups between two looks at the monitor.
const COMPARED: usize = 4096;
/// Counts that a gene is taken to have had before, as many as the model expects.
const PRIOR: f64 = 2.0;

/// Lets a trained model remember the cells that it was trained with, as means of groups, so that [`map_batches`] can set
/// new batches against them. `embedding` is what [`super::embed`] gives for the view and its cells' batches.
///
/// # Errors
/// [`Error::Argument`] when the view, the batches or the embedding do not fit the model.
pub fn remember(
    model: &mut Vae,
    view: &CountsView,
    batch: &[usize],
    embedding: &Embedding,
) -> Result<()> {
    check_fit(model, view, batch)?;
    if embedding.mean.dim() != (view.n_cells(), model.settings.n_latent) {
        return Err(Error::Argument(
            "the embedding is not that of the view's cells".into(),
        ));
    }
    let z: Vec<f32> = embedding.mean.iter().map(|&z| z as f32).collect();
    let centre = match &model.encoder.centre {
        Some(centre) => centre.flatten_all()?.to_vec1::<f32>()?,
        None => Vec::new(),
    };
    let mut rng = Streams::new(model.settings.seed).stream(Purpose::Anchors, 0);
    let device = model.encoder.bias.device();
    model.anchors = Anchors::of(view, batch, &z, &centre, &mut rng, device)?;
    Ok(())
}

/// Adds batches to a model and trains what is theirs: the encoder's centre and sub-modules from the groups of cells that
/// the model remembers, the genes' offsets from what it then expects of the new cells, and from there on the offsets
/// together with the decoder's sub-modules. All else stays as it is.
///
/// The model has to [`remember`] its cells. The view's genes are the model's; `batch` numbers the cells' batches from 0, `n_new` is their number. In the model
/// that is returned they follow its own.
///
/// # Errors
/// [`Error::Argument`] when the view does not fit, or the model has several covariates or remembers no cells,
/// [`Error::Interrupted`] when asked to stop before an epoch is over.
pub fn map_batches(
    model: &Vae,
    view: &CountsView,
    batch: &[usize],
    n_new: usize,
    settings: &Settings,
    monitor: &dyn Monitor,
) -> Result<Trained> {
    if model.anchors.is_empty()? {
        return Err(Error::Argument(
            "the model remembers no cells to set new ones against".into(),
        ));
    }
    let first = model.n_batches();
    let mut mapped = model.with_new_batches(n_new)?;
    let codes: Vec<usize> = batch.iter().map(|b| first + b).collect();
    check_fit(&mapped, view, &codes)?;
    let of_batches: Vec<Vec<usize>> = (0..n_new)
        .map(|b| (0..batch.len()).filter(|&c| batch[c] == b).collect())
        .collect();
    let groups = of_batches
        .iter()
        .map(|cells| closest(&mapped, view, cells, monitor))
        .collect::<Result<Vec<_>>>()?;
    let of_both = of_batches.iter().zip(&groups);
    let differences = of_both
        .map(|(cells, groups)| mapped.anchors.difference(view, cells, groups))
        .collect::<CandleResult<Vec<_>>>()?;
    mapped.encoder.set_centre(first, &differences)?;
    for (b, (cells, groups)) in of_batches.iter().zip(&groups).enumerate() {
        let (hidden, groups) = hidden_units(&mut mapped, view, first + b, cells, groups, monitor)?;
        align(&mapped, &hidden, &groups, first + b, monitor)?;
    }
    if !mapped.decoder.offsets.is_empty() {
        let ratios = log_ratios(&mut mapped, view, &codes, first..first + n_new, monitor)?;
        mapped.decoder.set_offsets(0, first, &ratios)?;
    }
    let settings = Settings {
        n_hidden: mapped.settings.n_hidden,
        n_latent: mapped.settings.n_latent,
        ..settings.clone()
    };
    train_new_batches(view, &codes, first, mapped, &settings, monitor)
}

/// The group that each cell is most alike.
fn closest(
    model: &Vae,
    view: &CountsView,
    cells: &[usize],
    monitor: &dyn Monitor,
) -> Result<Vec<usize>> {
    let mut groups = Vec::with_capacity(cells.len());
    for cells in cells.chunks(COMPARED) {
        go_on(monitor)?;
        groups.extend(model.anchors.closest(view, cells)?);
    }
    Ok(groups)
}

fn go_on(monitor: &dyn Monitor) -> Result<()> {
    match monitor.should_stop() {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}

/// What the encoder's sub-module of a batch reads of its cells, cells x hidden units, of at most [`MOST_CELLS`] cells,
/// evenly spaced; and their groups.
fn hidden_units(
    model: &mut Vae,
    view: &CountsView,
    batch: usize,
    cells: &[usize],
    groups: &[usize],
    monitor: &dyn Monitor,
) -> Result<(Tensor, Vec<usize>)> {
    let step = cells.len().div_ceil(MOST_CELLS).max(1);
    let cells: Vec<usize> = cells.iter().copied().step_by(step).collect();
    let groups = groups.iter().copied().step_by(step).collect();
    let wiring = model.wiring.clone();
    let codes = vec![batch; cells.len()];
    let mut parts = Vec::new();
    for (of_batches, _) in chunks(&cells, &codes, model.n_batches(), CHUNK) {
        go_on(monitor)?;
        let minibatch = MiniBatch::gather(view, &of_batches, None);
        let encoder = &mut model.encoder;
        parts.push(encoder.hidden(&minibatch, &wiring, &mut Mode::Evaluate)?);
    }
    Ok((Tensor::cat(&parts, 0)?, groups))
}

/// Logarithms of observed over expected counts, per gene and new batch: a vector of genes for each.
fn log_ratios(
    model: &mut Vae,
    view: &CountsView,
    batch: &[usize],
    new: Range<usize>,
    monitor: &dyn Monitor,
) -> Result<Vec<Vec<f64>>> {
    let n_genes = model.n_genes();
    let mut observed = vec![vec![0.0; n_genes]; new.len()];
    let mut expected = vec![vec![0.0; n_genes]; new.len()];
    let cells: Vec<usize> = (0..view.n_cells()).collect();
    for (&cell, b) in cells.iter().zip(batch) {
        let of_batch = &mut observed[b - new.start];
        view.for_each_in_cell(cell, |gene, count| {
            of_batch[gene as usize] += f64::from(count);
        });
    }
    for (groups, order) in chunks(&cells, batch, model.n_batches(), CHUNK) {
        go_on(monitor)?;
        let minibatch = MiniBatch::gather(view, &groups, None);
        let z = model.encode(&minibatch, &mut Mode::Evaluate)?.mean;
        let design = model.design.clone();
        let px = model.decode(&z, &minibatch.segments, &design, &mut Mode::Evaluate)?;
        let shares = px_scale(&px.scale)?.to_vec2::<f32>()?;
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
