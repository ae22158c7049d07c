//! Repeated fits for scScore.

use std::path::Path;

use extendr_api::prelude::*;

use super::convert::{self, to_r, Counts};
use super::run::{off_thread, FitMonitor};
use crate::backend::{check_device, Cpu};
use crate::counts::filter;
use crate::model::Settings;
use crate::results::{repeat_fits, Repeats};
use crate::saved::{Fingerprint, ScoreCheckpoint};
use crate::training::{check_batch_sizes, TrainingCells};
use crate::Result;

/// Counts each gene's connections over repeated fits. `checkpoint` is a folder that keeps the fits that are done, or
/// `NULL`; what is there is not made again.
/// @noRd
#[extendr]
pub fn rs_score(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    settings: List,
    n_repeats: i32,
    checkpoint: Option<String>,
    progress: Robj,
) -> extendr_api::Result<List> {
    let scored = || -> Result<_> {
        let settings = convert::settings(&settings)?;
        let names = convert::names(&gene_names);
        let folder = checkpoint.as_deref().map(Path::new);
        score(
            &counts, &names, &batch, &settings, n_repeats, folder, &progress,
        )
    };
    let ((genes, repeats), interrupted) = scored().map_err(to_r)?;
    Ok(list!(
        genes = convert::one_based(&genes),
        connections = convert::matrix(&repeats.connections),
        interrupted = interrupted
    ))
}

/// The seed of the repeated fits that a folder keeps, `NULL` if it keeps none.
/// @noRd
#[extendr]
pub fn rs_score_seed(checkpoint: &str) -> extendr_api::Result<Robj> {
    let known = ScoreCheckpoint::read(Path::new(checkpoint)).map_err(to_r)?;
    Ok(known.map_or(().into(), |known| (known.settings.seed as f64).into()))
}

type Scored = ((Vec<usize>, Repeats), bool);

fn score(
    counts: &Robj,
    gene_names: &[String],
    batch: &List,
    settings: &Settings,
    n_repeats: i32,
    folder: Option<&Path>,
    progress: &Robj,
) -> Result<Scored> {
    check_device(&settings.device)?;
    let batches = convert::batches(batch)?;
    let n_fits = n_repeats.max(1) as usize;
    Counts::from_r(counts)?.with(|matrix| {
        let codes = batches.codes(matrix.n_cells())?;
        off_thread(settings.threads, progress, |reporter| {
            let view = filter(matrix, settings.min_cells, settings.min_genes)?;
            let codes: Vec<usize> = view.cells().iter().map(|&c| codes[c]).collect();
            check_batch_sizes(&codes, &batches.names)?;
            let cells = TrainingCells {
                view: &view,
                batch: &codes,
                design: &batches.design,
            };
            let genes = view.genes();
            let of_gene = |&gene: &usize| gene_names.get(gene).cloned();
            let kept_names: Vec<String> = genes.iter().filter_map(of_gene).collect();
            let mut checkpoint = folder.map(|folder| {
                let checkpoint = ScoreCheckpoint {
                    settings: settings.clone(),
                    fingerprint: Fingerprint::of(&view, &codes, &kept_names),
                    connections: Vec::new(),
                };
                (folder, checkpoint)
            });
            if let Some((folder, checkpoint)) = &mut checkpoint {
                if let Some(known) = ScoreCheckpoint::read(folder)? {
                    known.check(settings, &checkpoint.fingerprint)?;
                    checkpoint.connections = known.connections;
                }
            }
            let done = checkpoint
                .as_ref()
                .map(|(_, known)| known.connections.clone());
            let keep = |connections: &[Vec<f64>]| match &checkpoint {
                None => Ok(()),
                Some((folder, checkpoint)) => ScoreCheckpoint {
                    connections: connections.to_vec(),
                    ..checkpoint.clone()
                }
                .write(folder),
            };
            let monitor = |fit| FitMonitor {
                reporter,
                fit,
                n_fits,
                epochs_before: 0,
            };
            let done = done.unwrap_or_default();
            let repeats = repeat_fits(cells, settings, &Cpu, n_fits, done, monitor, &keep)?;
            Ok((genes, repeats))
        })
    })
}

extendr_module! {
    mod score;
    fn rs_score;
    fn rs_score_seed;
}
