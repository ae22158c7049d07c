//! Training, from the start or from a checkpoint.

use std::path::{Path, PathBuf};

use extendr_api::prelude::*;
use ndarray::Array2;

use super::convert::{self, to_r, Batches, Counts};
use super::run::{off_thread, FitMonitor, Reporter};
use crate::backend::{check_device, on_device, Backend, Cpu, OnDevice};
use crate::counts::{filter, CountMatrix};
use crate::mapping::remember;
use crate::model::Settings;
use crate::results::{
    embed, embed_filtered, gene_evidence, median_library, settings_of_fit, Embedding,
    ExpressionSpace,
};
use crate::saved::{Checkpoint, Fingerprint, Resume, SavedModel};
use crate::training::{check_batch_sizes, TrainState, Training, TrainingCells};
use crate::{Error, Result};

struct Fit {
    saved: SavedModel,
    bytes: Vec<u8>,
    embedding: Embedding,
    places: Option<Array2<f64>>,
    cells: Vec<usize>,
    genes: Vec<usize>,
}

/// Where checkpoints go, and after how many epochs.
struct Checkpoints {
    folder: PathBuf,
    every: usize,
}

/// What a fit is made of, besides the counts.
struct Plan {
    settings: Settings,
    batches: Batches,
    gene_names: Vec<String>,
    checkpoints: Option<Checkpoints>,
    /// Whether cells are to be placed in expression space.
    expression: bool,
    /// After one Ctrl-C return what was learned until then.
    keep_interrupted: bool,
}

/// Trains a model and embeds its cells. `number` says which of the fits of this seed it is, from 1. `keep_interrupted`: after one Ctrl-C return what was learned until then.
/// `checkpoint` is a folder or `NULL`.
/// @noRd
#[extendr]
#[allow(clippy::too_many_arguments)]
pub fn rs_fit(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    settings: List,
    number: i32,
    checkpoint: Option<String>,
    checkpoint_every: i32,
    expression: bool,
    keep_interrupted: bool,
    progress: Robj,
) -> extendr_api::Result<List> {
    let fitted = || {
        let number = number.max(1) as usize - 1;
        let plan = Plan {
            settings: settings_of_fit(&convert::settings(&settings)?, number),
            batches: convert::batches(&batch)?,
            gene_names: convert::names(&gene_names),
            checkpoints: checkpoint.map(|folder| checkpoints(folder, checkpoint_every)),
            expression,
            keep_interrupted,
        };
        fit(&counts, &plan, None, &progress)
    };
    fitted().and_then(described).map_err(to_r)
}

/// Goes on with a training from its last checkpoint in a folder.
/// @noRd
#[extendr]
#[allow(clippy::too_many_arguments)]
pub fn rs_resume(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    checkpoint: String,
    checkpoint_every: i32,
    expression: bool,
    threads: i32,
    keep_interrupted: bool,
    progress: Robj,
) -> extendr_api::Result<List> {
    let fitted = || {
        let (known, resume) = Checkpoint::read(Path::new(&checkpoint))?;
        let plan = Plan {
            settings: Settings {
                threads: threads.max(1) as usize,
                ..known.settings.clone()
            },
            batches: convert::batches(&batch)?,
            gene_names: convert::names(&gene_names),
            checkpoints: Some(checkpoints(checkpoint, checkpoint_every)),
            expression,
            keep_interrupted,
        };
        fit(&counts, &plan, Some((known, resume)), &progress)
    };
    fitted().and_then(described).map_err(to_r)
}

/// Whether a folder holds a checkpoint.
/// @noRd
#[extendr]
pub fn rs_has_checkpoint(folder: &str) -> bool {
    Checkpoint::path(Path::new(folder)).exists()
}

/// What a checkpoint says of its training.
/// @noRd
#[extendr]
pub fn rs_checkpoint_info(checkpoint: &str) -> extendr_api::Result<List> {
    let (known, resume) = Checkpoint::read(Path::new(checkpoint)).map_err(to_r)?;
    let covariates: Vec<String> = known.covariates.iter().map(|c| c.name.clone()).collect();
    Ok(list!(
        settings = convert::settings_list(&known.settings).map_err(to_r)?,
        batch_columns = convert::names_or_null(&known.batch_columns),
        batch_names = convert::names_or_null(&known.batch_names),
        covariates = covariates,
        epochs = resume.n_epochs().map_err(to_r)? as i32
    ))
}

fn checkpoints(folder: String, every: i32) -> Checkpoints {
    Checkpoints {
        folder: folder.into(),
        every: every.max(1) as usize,
    }
}

fn described((fit, interrupted): (Fit, bool)) -> Result<List> {
    let history = &fit.saved.history;
    Ok(list!(
        model = Raw::from_bytes(&fit.bytes),
        cells = convert::one_based(&fit.cells),
        genes = convert::one_based(&fit.genes),
        latent = convert::matrix(&fit.embedding.mean),
        latent_sd = convert::matrix(&fit.embedding.sd),
        places = convert::matrix_or_null(fit.places.as_ref()),
        components = convert::components(&fit.saved)?,
        connections = convert::connections(&fit.saved),
        evidence = convert::evidence(fit.saved.evidence.as_ref()),
        history = convert::history(history),
        n_parameters = fit.saved.model.n_parameters() as f64,
        stopped = convert::stopped(history),
        interrupted = interrupted,
        epochs = history.epochs.len() as i32,
        best_epoch = history.best_epoch.map(|e| e as i32)
    ))
}

/// The fit, and whether there was a Ctrl-C.
fn fit(
    counts: &Robj,
    plan: &Plan,
    resume: Option<(Checkpoint, Resume)>,
    progress: &Robj,
) -> Result<(Fit, bool)> {
    check_device(&plan.settings.device)?;
    Counts::from_r(counts)?.with(|matrix| {
        let codes = plan.batches.codes(matrix.n_cells())?;
        let (fit, interrupted) = off_thread(plan.settings.threads, progress, |reporter| {
            let work = FitWork {
                matrix,
                all_codes: &codes,
                plan,
                resume,
                reporter,
            };
            on_device(&plan.settings.device, work)
        })?;
        if interrupted && !plan.keep_interrupted {
            return Err(Error::Interrupted);
        }
        Ok((fit, interrupted))
    })
}

struct FitWork<'a> {
    matrix: &'a CountMatrix<'a>,
    all_codes: &'a [usize],
    plan: &'a Plan,
    resume: Option<(Checkpoint, Resume)>,
    reporter: &'a Reporter,
}

impl OnDevice for FitWork<'_> {
    type Output = Fit;

    fn run<B: Backend>(self, backend: &B) -> Result<Fit> {
        trained(backend, self)
    }
}

fn trained<B: Backend>(backend: &B, work: FitWork) -> Result<Fit> {
    let FitWork {
        matrix,
        all_codes,
        plan,
        resume,
        reporter,
    } = work;
    let (settings, batches) = (&plan.settings, &plan.batches);
    let view = filter(matrix, settings.min_cells, settings.min_genes)?;
    let codes: Vec<usize> = view.cells().iter().map(|&c| all_codes[c]).collect();
    check_batch_sizes(&codes, &batches.names)?;
    let genes = view.genes();
    let of_gene = |&gene: &usize| plan.gene_names.get(gene).cloned();
    let gene_names: Vec<String> = genes.iter().filter_map(of_gene).collect();
    let cells = TrainingCells {
        view: &view,
        batch: &codes,
        design: &batches.design,
    };
    let epochs_before = match &resume {
        None => 0,
        Some((_, resume)) => resume.n_epochs()?,
    };
    let monitor = FitMonitor {
        reporter,
        fit: 0,
        n_fits: 1,
        epochs_before,
    };
    let mut training = match &resume {
        None => Training::new(cells, settings, backend, &monitor)?,
        Some(_) => Training::to_resume(cells, settings, backend, &monitor)?,
    };
    let checkpoint = Checkpoint {
        settings: settings.clone(),
        design: batches.design.clone(),
        batch_names: batches.names.clone(),
        batch_columns: batches.columns.clone(),
        covariates: batches.covariates.clone(),
        fingerprint: match plan.checkpoints {
            Some(_) => Fingerprint::of(&view, &codes, &gene_names),
            None => Fingerprint::default(),
        },
    };
    let folder = plan.checkpoints.as_ref().map(|c| c.folder.as_path());
    let save = |state: &TrainState<B>| match folder {
        Some(folder) => checkpoint.write(folder, state),
        None => Ok(()),
    };
    match resume {
        Some((known, resume)) => {
            known.check(&checkpoint)?;
            resume.put(&mut training.state)?;
        }
        // The start, too: a fit can be gone on with from whenever it was cut off, and a disk that is full shows at once.
        None => save(&training.state)?,
    }
    if let Some(checkpoints) = &plan.checkpoints {
        training.save_with(checkpoints.every, &save);
    }
    let trained = training.run()?;
    // From here on the processor serves: what is returned is to the last bit what `predict()` gives later.
    let model = trained.model.to_device(&Cpu)?;
    // The first Ctrl-C ends the training, of which something is left; the next one ends everything.
    let should_stop = || reporter.interrupts() > usize::from(plan.keep_interrupted);
    let embedding = embed(&model, &view, &codes, &should_stop)?;
    let evidence = gene_evidence(&model, &view, &codes, &should_stop)?;
    let expression = match plan.expression {
        true => Some(ExpressionSpace::find(
            &model,
            &embedding.mean,
            &should_stop,
        )?),
        false => None,
    };
    let cell_groups = remember(&model, &view, &codes, &embedding, &should_stop)?;
    let embedding = embed_filtered(&model, matrix, &view, all_codes, embedding, &should_stop)?;
    let saved = SavedModel {
        model,
        cell_groups: Some(cell_groups),
        gene_names,
        batch_names: batches.names.clone(),
        batch_columns: batches.columns.clone(),
        covariates: batches.covariates.clone(),
        library: median_library(&view, &codes, batches.design.n_batches()),
        history: trained.history,
        evidence: Some(evidence),
        expression,
    };
    Ok(Fit {
        bytes: saved.to_bytes()?,
        places: saved.places(&embedding.mean, &should_stop)?,
        embedding,
        cells: view.cells().to_vec(),
        genes,
        saved,
    })
}

extendr_module! {
    mod fit;
    fn rs_fit;
    fn rs_resume;
    fn rs_has_checkpoint;
    fn rs_checkpoint_info;
}
