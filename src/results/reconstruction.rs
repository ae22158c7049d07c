//! Latent space -> expression: denoised counts, in a cell's own batch style or in another batch's.

use ndarray::Array2;

use super::embedding::check_fit;
use super::CHUNK;
use crate::backend::Backend;
use crate::batches::Design;
use crate::counts::CountsView;
use crate::kernels::{Likelihood, Segment};
use crate::model::{Mode, Vae};
use crate::sampling::{chunks, MiniBatch};
use crate::{Error, Result, Stop};

/// What to reconstruct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Mean of the negative binomial: library times `px_scale`.
    Rate,
    /// Share of each gene in the cell's counts.
    Scale,
    /// Probability of an extra zero.
    Dropout,
}

/// How to reconstruct.
#[derive(Debug, Clone)]
pub struct Reconstruction<'a> {
    /// The model's genes to return.
    pub genes: &'a [usize],
    /// Each cell's own batch: what its encoder pass removes.
    pub batch: &'a [usize],
    /// Covariates and the level whose style all cells get (the paper's mode 2); for the other covariates, and if there are
    /// none, each cell keeps its own (mode 1).
    pub style: &'a [(usize, usize)],
    /// Library size for all cells; `None` = each cell's own total count.
    pub library: Option<f64>,
    /// What to return.
    pub output: Output,
}

/// Reconstructs cells of a view: genes x cells, in the orders given.
///
/// # Errors
/// [`Error::Argument`] when genes, batches or library do not fit the model, or it has no dropout head,
/// [`Error::Interrupted`] when asked to stop.
///
/// ```
/// # use scvae::backend::Cpu;
/// # use scvae::batches::Design;
/// # use scvae::counts::filter;
/// # use scvae::model::Settings;
/// # use scvae::training::{train, Silent, TrainingCells};
/// use scvae::results::{reconstruct, Output, Reconstruction};
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
/// // Counts per 10,000 of the first three genes, had all cells been measured in batch 1.
/// let how = Reconstruction {
///     genes: &[0, 1, 2],
///     batch: &batch,
///     style: &[(0, 1)],
///     library: Some(1e4),
///     output: Output::Rate,
/// };
/// let rates = reconstruct(&trained.model, &view, &how, &|| false)?;
/// assert_eq!(rates.dim(), (3, view.n_cells()));
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn reconstruct<B: Backend>(
    model: &Vae<B>,
    view: &CountsView,
    how: &Reconstruction,
    should_stop: Stop,
) -> Result<Array2<f64>> {
    check_fit(model, view, how.batch)?;
    check(model, how)?;
    let mut out = Array2::zeros((how.genes.len(), view.n_cells()));
    let cells: Vec<usize> = (0..view.n_cells()).collect();
    for (groups, order) in chunks(&cells, how.batch, model.n_batches(), CHUNK) {
        if should_stop() {
            return Err(Error::Interrupted);
        }
        let minibatch = MiniBatch::gather(view, &groups, None);
        let z = model.encode(&minibatch, &mut Mode::Evaluate)?.mean;
        let (segments, design) = styled(model, &minibatch.segments, how.style);
        let px = model.decode(&z, &segments, &design)?;
        let values = match (how.output, px.dropout) {
            (Output::Dropout, Some(logits)) => candle_nn::ops::sigmoid(&logits)?,
            (Output::Dropout, None) => return Err(no_dropout(model.settings.likelihood)),
            _ => model.backend().px_scale(&px.scale)?,
        };
        let values = values.flatten_all()?.to_vec1::<f32>()?;
        for (row, &cell) in order.iter().enumerate() {
            let factor = match (how.output, how.library) {
                (Output::Rate, Some(library)) => library,
                (Output::Rate, None) => view.library(cell),
                _ => 1.0,
            };
            for (i, &gene) in how.genes.iter().enumerate() {
                out[[i, cell]] = factor * f64::from(values[gene * order.len() + row]);
            }
        }
    }
    Ok(out)
}

/// The segments with the batches that they are decoded as, and the levels that these have in the decoder.
fn styled<B: Backend>(
    model: &Vae<B>,
    segments: &[Segment],
    style: &[(usize, usize)],
) -> (Vec<Segment>, Design) {
    let mut design = model.design.clone();
    let mut segments = segments.to_vec();
    if let (&[(_, batch)], true) = (style, model.wiring().masks.len() > 1) {
        // With masks of their own, batches are the levels of the only covariate; the mask goes with the batch.
        for segment in &mut segments {
            segment.batch = batch;
        }
        return (segments, design);
    }
    for &(covariate, level) in style {
        design = design.with_level(covariate, level);
    }
    (segments, design)
}

fn check<B: Backend>(model: &Vae<B>, how: &Reconstruction) -> Result<()> {
    if how.genes.iter().any(|&g| g >= model.n_genes()) {
        return Err(Error::Argument(format!(
            "genes must be numbers below {}, the model's number of genes",
            model.n_genes()
        )));
    }
    let n_levels = model.design.n_levels();
    let known =
        |&(covariate, level): &(usize, usize)| n_levels.get(covariate).is_some_and(|&n| level < n);
    if !how.style.iter().all(known) {
        return Err(Error::Argument(format!(
            "the covariates' levels to decode with, {:?}, are not among the model's {n_levels:?}",
            how.style
        )));
    }
    if how.library.is_some_and(|l| !(l > 0.0 && l.is_finite())) {
        return Err(Error::Argument("library must be a number above 0".into()));
    }
    if how.output == Output::Dropout && model.decoder.dropout.is_none() {
        return Err(no_dropout(model.settings.likelihood));
    }
    Ok(())
}

fn no_dropout(likelihood: Likelihood) -> Error {
    let own = format!("{likelihood:?}").to_lowercase();
    Error::Argument(format!(
        "px_dropout needs a model with likelihood = \"zinb\".\nThis one has \"{own}\", which knows no extra zeros."
    ))
}
