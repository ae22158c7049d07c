//! Latent space -> expression: denoised counts, in a cell's own batch style or in another batch's.

use std::cmp::Ordering;
use std::ops::Range;

use ndarray::Array2;

use super::embedding::check_fit;
use super::CHUNK;
use crate::counts::CountsView;
use crate::likelihood::px_scale;
use crate::model::{Design, Mode, Vae};
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
pub fn reconstruct(
    model: &Vae,
    view: &CountsView,
    how: &Reconstruction,
    should_stop: Stop,
) -> Result<Array2<f64>> {
    check_fit(model, view, how.batch)?;
    check(model, how)?;
    let mut model = model.clone();
    let mut out = Array2::zeros((how.genes.len(), view.n_cells()));
    let cells: Vec<usize> = (0..view.n_cells()).collect();
    for (groups, order) in chunks(&cells, how.batch, model.n_batches(), CHUNK) {
        if should_stop() {
            return Err(Error::Interrupted);
        }
        let minibatch = MiniBatch::gather(view, &groups, None);
        let z = model.encode(&minibatch, &mut Mode::Evaluate)?.mean;
        let (segments, design) = styled(&model, &minibatch.segments, how.style);
        let px = model.decode(&z, &segments, &design, &mut Mode::Evaluate)?;
        let values = match (how.output, px.dropout) {
            (Output::Dropout, Some(logits)) => candle_nn::ops::sigmoid(&logits)?,
            (Output::Dropout, None) => return Err(no_dropout()),
            _ => px_scale(&px.scale)?,
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

/// The rows of each batch, and the levels that each batch has in the decoder.
fn styled(
    model: &Vae,
    segments: &[Range<usize>],
    style: &[(usize, usize)],
) -> (Vec<Range<usize>>, Design) {
    let mut design = model.design.clone();
    if let (&[(_, batch)], true) = (style, model.wiring.masks.len() > 1) {
        // Masks go with the place among the segments: all rows move there.
        let n_cells = segments.last().map_or(0, |s| s.end);
        let moved = (0..segments.len()).map(|b| match b.cmp(&batch) {
            Ordering::Less => 0..0,
            Ordering::Equal => 0..n_cells,
            Ordering::Greater => n_cells..n_cells,
        });
        return (moved.collect(), design);
    }
    for &(covariate, level) in style {
        design = design.with_level(covariate, level);
    }
    (segments.to_vec(), design)
}

fn check(model: &Vae, how: &Reconstruction) -> Result<()> {
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
        return Err(no_dropout());
    }
    Ok(())
}

fn no_dropout() -> Error {
    Error::Argument("px_dropout needs likelihood = \"zinb\"; this model's is \"nb\"".into())
}
