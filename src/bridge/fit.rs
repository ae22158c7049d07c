//! Training and scoring.

use extendr_api::prelude::*;

use super::convert::{self, to_r, Counts};
use super::run::{off_thread, FitMonitor};
use crate::counts::filter;
use crate::model::{SavedModel, Settings};
use crate::results::{embed, median_library, remember, repeat_fits, Embedding, Repeats};
use crate::training::{check_batch_sizes, train};
use crate::{Error, Result};

struct Fit {
    saved: SavedModel,
    bytes: Vec<u8>,
    embedding: Embedding,
    interrupted: bool,
    cells: Vec<usize>,
    genes: Vec<usize>,
}

/// Trains a model and embeds its cells. `keep_interrupted`: after one Ctrl-C return what was learned until then.
/// @noRd
#[extendr]
pub fn rs_fit(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    settings: List,
    keep_interrupted: bool,
    progress: Robj,
) -> extendr_api::Result<List> {
    let fitted = fit(
        &counts,
        &gene_names,
        &batch,
        &settings,
        keep_interrupted,
        &progress,
    );
    let fit = fitted.map_err(to_r)?;
    let history = &fit.saved.history;
    Ok(list!(
        model = Raw::from_bytes(&fit.bytes),
        cells = convert::one_based(&fit.cells),
        genes = convert::one_based(&fit.genes),
        latent = convert::matrix(&fit.embedding.mean),
        latent_sd = convert::matrix(&fit.embedding.sd),
        connections = convert::connections(&fit.saved),
        history = convert::history(history),
        n_parameters = fit.saved.model.n_parameters() as f64,
        stopped = convert::stopped(history),
        interrupted = fit.interrupted,
        epochs = history.epochs.len() as i32,
        best_epoch = history.best_epoch.map(|e| e as i32)
    ))
}

fn fit(
    counts: &Robj,
    gene_names: &Robj,
    batch: &List,
    settings: &List,
    keep_interrupted: bool,
    progress: &Robj,
) -> Result<Fit> {
    let settings = convert::settings(settings)?;
    let gene_names = convert::names(gene_names);
    let batches = convert::batches(batch)?;
    Counts::from_r(counts)?.with(|matrix| {
        let codes = batches.codes(matrix.n_cells())?;
        // The first Ctrl-C ends the training, of which something is left; the next one ends everything.
        let most_interrupts = usize::from(keep_interrupted);
        let (fit, interrupted) = off_thread(settings.threads, progress, |reporter| {
            let view = filter(matrix, settings.min_cells, settings.min_genes)?;
            let codes: Vec<usize> = view.cells().iter().map(|&c| codes[c]).collect();
            check_batch_sizes(&codes, &batches.names)?;
            let monitor = FitMonitor {
                reporter,
                fit: 0,
                n_fits: 1,
            };
            let should_stop = || reporter.interrupts() > most_interrupts;
            let mut trained = train(&view, &codes, &batches.design, &settings, &monitor)?;
            let embedding = embed(&trained.model, &view, &codes, &should_stop)?;
            remember(&mut trained.model, &view, &codes, &embedding)?;
            let genes = view.genes();
            let saved = SavedModel {
                model: trained.model,
                gene_names: genes
                    .iter()
                    .filter_map(|&g| gene_names.get(g).cloned())
                    .collect(),
                batch_names: batches.names.clone(),
                batch_columns: batches.columns.clone(),
                covariates: batches.covariates.clone(),
                library: median_library(&view, &codes, batches.design.n_batches()),
                history: trained.history,
            };
            Ok(Fit {
                bytes: saved.to_bytes()?,
                embedding,
                interrupted: false,
                cells: view.cells().to_vec(),
                genes,
                saved,
            })
        })?;
        if interrupted && !keep_interrupted {
            return Err(Error::Interrupted);
        }
        Ok(Fit { interrupted, ..fit })
    })
}

/// Counts each gene's connections over repeated fits.
/// @noRd
#[extendr]
pub fn rs_score(
    counts: Robj,
    batch: List,
    settings: List,
    n_repeats: i32,
    progress: Robj,
) -> extendr_api::Result<List> {
    let settings = convert::settings(&settings).map_err(to_r)?;
    let ((genes, repeats), interrupted) =
        score(&counts, &batch, &settings, n_repeats, &progress).map_err(to_r)?;
    Ok(list!(
        genes = convert::one_based(&genes),
        connections = convert::matrix(&repeats.connections),
        interrupted = interrupted
    ))
}

fn score(
    counts: &Robj,
    batch: &List,
    settings: &Settings,
    n_repeats: i32,
    progress: &Robj,
) -> Result<((Vec<usize>, Repeats), bool)> {
    let batches = convert::batches(batch)?;
    let n_fits = n_repeats.max(1) as usize;
    Counts::from_r(counts)?.with(|matrix| {
        let codes = batches.codes(matrix.n_cells())?;
        off_thread(settings.threads, progress, |reporter| {
            let view = filter(matrix, settings.min_cells, settings.min_genes)?;
            let codes: Vec<usize> = view.cells().iter().map(|&c| codes[c]).collect();
            check_batch_sizes(&codes, &batches.names)?;
            let monitor = |fit| FitMonitor {
                reporter,
                fit,
                n_fits,
            };
            let repeats = repeat_fits(&view, &codes, &batches.design, settings, n_fits, monitor)?;
            Ok((view.genes(), repeats))
        })
    })
}

extendr_module! {
    mod fit;
    fn rs_fit;
    fn rs_score;
}
