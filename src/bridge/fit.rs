//! Training and scoring.

use extendr_api::prelude::*;
use ndarray::Array2;

use super::convert::{self, to_r, Counts};
use super::run::{off_thread, FitMonitor};
use crate::counts::{filter, CountMatrix, CountsView};
use crate::model::{SavedModel, Settings, Vae};
use crate::results::{embed, median_library, remember, repeat_fits, Embedding, Repeats};
use crate::training::{check_batch_sizes, train};
use crate::Result;

struct Fit {
    saved: SavedModel,
    bytes: Vec<u8>,
    /// Of all cells of the matrix, also those that the filter kept from the training.
    embedding: Embedding,
    /// The cells that passed the filter.
    cells: Vec<usize>,
    genes: Vec<usize>,
}

/// Trains a model and embeds its cells.
/// @noRd
#[extendr]
pub fn rs_fit(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    settings: List,
    progress: Robj,
) -> extendr_api::Result<List> {
    let fit = fit(&counts, &gene_names, &batch, &settings, &progress).map_err(to_r)?;
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
        epochs = history.epochs.len() as i32,
        best_epoch = history.best_epoch.map(|e| e as i32)
    ))
}

fn fit(
    counts: &Robj,
    gene_names: &Robj,
    batch: &List,
    settings: &List,
    progress: &Robj,
) -> Result<Fit> {
    let settings = convert::settings(settings)?;
    let gene_names = convert::names(gene_names);
    let batches = convert::batches(batch)?;
    Counts::from_r(counts)?.with(|matrix| {
        let all_codes = batches.codes(matrix.n_cells())?;
        off_thread(settings.threads, progress, |reporter| {
            let view = filter(matrix, settings.min_cells, settings.min_genes)?;
            let codes: Vec<usize> = view.cells().iter().map(|&c| all_codes[c]).collect();
            check_batch_sizes(&codes, &batches.names)?;
            let monitor = FitMonitor {
                reporter,
                fit: 0,
                n_fits: 1,
            };
            let mut trained = train(&view, &codes, &batches.design, &settings, &monitor)?;
            let embedding = embed(&trained.model, &view, &codes)?;
            remember(&mut trained.model, &view, &codes, &embedding)?;
            let embedding = embed_others(&trained.model, matrix, &view, &all_codes, embedding)?;
            let genes = view.genes();
            let saved = SavedModel {
                model: trained.model,
                gene_names: genes
                    .iter()
                    .filter_map(|&g| gene_names.get(g).cloned())
                    .collect(),
                batch_names: batches.names.clone(),
                covariates: batches.covariates.clone(),
                library: median_library(&view, &codes, batches.design.n_batches()),
                history: trained.history,
            };
            Ok(Fit {
                bytes: saved.to_bytes()?,
                embedding,
                cells: view.cells().to_vec(),
                genes,
                saved,
            })
        })
    })
}

/// Adds the cells that the filter kept from the training to the embedding of the others, by the same encoder. What is
/// known of the trained cells is taken over as it is: the last bits depend on which cells are computed together.
fn embed_others(
    model: &Vae,
    matrix: &CountMatrix,
    trained: &CountsView,
    codes: &[usize],
    embedding: Embedding,
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
    let codes: Vec<usize> = view.cells().iter().map(|&c| codes[c]).collect();
    let added = embed(model, &view, &codes)?;
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
    let (genes, repeats) = score(&counts, &batch, &settings, n_repeats, &progress).map_err(to_r)?;
    Ok(list!(
        genes = convert::one_based(&genes),
        connections = convert::matrix(&repeats.connections),
        completed = repeats.connections.ncols() as i32
    ))
}

fn score(
    counts: &Robj,
    batch: &List,
    settings: &Settings,
    n_repeats: i32,
    progress: &Robj,
) -> Result<(Vec<usize>, Repeats)> {
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
