//! Training, from the start or from a checkpoint.

use std::path::{Path, PathBuf};

use extendr_api::prelude::*;
use ndarray::Array2;

use super::convert::{self, to_r, Batches, Counts};
use super::run::{off_thread, FitMonitor, FitPlace, Reporter};
use crate::backend::{check_device, on_device, Backend, Cpu, OnDevice};
use crate::counts::{filter, CountMatrix};
use crate::mapping::remember;
use crate::model::{Settings, Stopped};
use crate::results::{
    embed, embed_filtered, gene_evidence, median_library, settings_of_fit, Embedding,
    ExpressionSpace,
};
use crate::saved::{Checkpoint, Fingerprint, Resume, SavedModel};
use crate::training::{check_batch_sizes, side_by_side, TrainState, Training, TrainingCells};
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

/// What fits of the same cells have in common, besides the counts.
struct Plan {
    settings: Settings,
    batches: Batches,
    gene_names: Vec<String>,
    /// Whether cells are to be placed in expression space.
    expression: bool,
    /// After one Ctrl-C return what was learned until then.
    keep_interrupted: bool,
}

/// One fit.
struct Task {
    settings: Settings,
    checkpoints: Option<Checkpoints>,
    resume: Option<(Checkpoint, Resume)>,
}

/// Trains a model and embeds its cells. `keep_interrupted`: after one Ctrl-C return what was learned until then.
/// `checkpoint` is a folder or `NULL`.
/// @noRd
#[extendr]
#[allow(clippy::too_many_arguments)]
pub fn rs_fit(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    settings: List,
    checkpoint: Option<String>,
    checkpoint_every: i32,
    expression: bool,
    keep_interrupted: bool,
    progress: Robj,
) -> extendr_api::Result<List> {
    let fitted = || {
        let plan = Plan {
            settings: convert::settings(&settings)?,
            batches: convert::batches(&batch)?,
            gene_names: convert::names(&gene_names),
            expression,
            keep_interrupted,
        };
        let task = Task {
            settings: plan.settings.clone(),
            checkpoints: checkpoint.map(|folder| checkpoints(folder, checkpoint_every)),
            resume: None,
        };
        fit(&counts, &plan, task, &progress)
    };
    fitted().and_then(described_one).map_err(to_r)
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
            expression,
            keep_interrupted,
        };
        let task = Task {
            settings: plan.settings.clone(),
            checkpoints: Some(checkpoints(checkpoint, checkpoint_every)),
            resume: Some((known, resume)),
        };
        fit(&counts, &plan, task, &progress)
    };
    fitted().and_then(described_one).map_err(to_r)
}

/// Trains models from other starts, side by side: the fits of this seed with these `numbers`, from 1. `checkpoints` is a
/// folder for each, or `NULL`; those that hold a training go on with it. Returns the fits that are whole.
/// @noRd
#[extendr]
#[allow(clippy::too_many_arguments)]
pub fn rs_fit_repeats(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    settings: List,
    numbers: Robj,
    checkpoints: Robj,
    checkpoint_every: i32,
    expression: bool,
    progress: Robj,
) -> extendr_api::Result<List> {
    let fitted = || -> Result<_> {
        let plan = Plan {
            settings: convert::settings(&settings)?,
            batches: convert::batches(&batch)?,
            gene_names: convert::names(&gene_names),
            expression,
            keep_interrupted: false,
        };
        let numbers = convert::integers(&numbers, "numbers")?;
        let numbers = convert::from_one(numbers, i32::MAX as usize, "numbers")?;
        let folders = convert::names(&checkpoints);
        let (fits, interrupted) = fit_repeats(
            &counts,
            &plan,
            &numbers,
            &folders,
            checkpoint_every,
            &progress,
        )?;
        let whole = numbers.iter().zip(fits);
        let whole = whole.filter_map(|(number, fit)| Some((*number, fit?)));
        let (numbers, fits): (Vec<usize>, Vec<Fit>) = whole.unzip();
        let fits: Vec<List> = fits.into_iter().map(described).collect::<Result<_>>()?;
        Ok(list!(
            fits = List::from_values(fits),
            numbers = convert::one_based(&numbers),
            interrupted = interrupted
        ))
    };
    fitted().map_err(to_r)
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

fn described_one((fit, interrupted): (Fit, bool)) -> Result<List> {
    Ok(list!(fit = described(fit)?, interrupted = interrupted))
}

fn described(fit: Fit) -> Result<List> {
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
        epochs = history.epochs.len() as i32,
        best_epoch = history.best_epoch.map(|e| e as i32)
    ))
}

/// The fit, and whether there was a Ctrl-C.
fn fit(counts: &Robj, plan: &Plan, task: Task, progress: &Robj) -> Result<(Fit, bool)> {
    check_device(&plan.settings.device)?;
    Counts::from_r(counts)?.with(|matrix| {
        let codes = plan.batches.codes(matrix.n_cells())?;
        let (fit, interrupted) = off_thread(plan.settings.threads, progress, |reporter| {
            let place = FitPlace::ALONE;
            let work = FitWork {
                matrix,
                all_codes: &codes,
                plan,
                task,
                monitor: FitMonitor { reporter, place },
            };
            on_device(&plan.settings.device, work)
        })?;
        if interrupted && !plan.keep_interrupted {
            return Err(Error::Interrupted);
        }
        Ok((fit, interrupted))
    })
}

/// The fits with these numbers, from 0, `None` where one was interrupted; and whether there was a Ctrl-C.
fn fit_repeats(
    counts: &Robj,
    plan: &Plan,
    numbers: &[usize],
    folders: &[String],
    checkpoint_every: i32,
    progress: &Robj,
) -> Result<(Vec<Option<Fit>>, bool)> {
    check_device(&plan.settings.device)?;
    Counts::from_r(counts)?.with(|matrix| {
        let codes = plan.batches.codes(matrix.n_cells())?;
        off_thread(plan.settings.threads, progress, |reporter| {
            let work = RepeatsWork {
                matrix,
                all_codes: &codes,
                plan,
                numbers,
                folders,
                checkpoint_every,
                reporter,
            };
            on_device(&plan.settings.device, work)
        })
    })
}

struct RepeatsWork<'a> {
    matrix: &'a CountMatrix<'a>,
    all_codes: &'a [usize],
    plan: &'a Plan,
    numbers: &'a [usize],
    folders: &'a [String],
    checkpoint_every: i32,
    reporter: &'a Reporter,
}

impl OnDevice for RepeatsWork<'_> {
    type Output = Vec<Option<Fit>>;

    fn run<B: Backend>(self, backend: &B) -> Result<Vec<Option<Fit>>> {
        side_by_side(backend, self.numbers.len(), |place| {
            let folder = self.folders.get(place);
            let resume = match folder.map(Path::new) {
                Some(folder) if Checkpoint::path(folder).exists() => {
                    Some(Checkpoint::read(folder)?)
                }
                _ => None,
            };
            let place = FitPlace {
                fit: place,
                n_fits: self.numbers.len(),
                fits_before: 0,
                epochs_before: epochs_before(resume.as_ref())?,
            };
            let work = FitWork {
                matrix: self.matrix,
                all_codes: self.all_codes,
                plan: self.plan,
                task: Task {
                    settings: settings_of_fit(&self.plan.settings, self.numbers[place.fit]),
                    checkpoints: folder.map(|f| checkpoints(f.clone(), self.checkpoint_every)),
                    resume,
                },
                monitor: FitMonitor {
                    reporter: self.reporter,
                    place,
                },
            };
            let fit = trained(backend, work)?;
            match fit.saved.history.stopped {
                Stopped::Interrupted => Err(Error::Interrupted),
                _ => Ok(fit),
            }
        })
    }
}

struct FitWork<'a> {
    matrix: &'a CountMatrix<'a>,
    all_codes: &'a [usize],
    plan: &'a Plan,
    task: Task,
    monitor: FitMonitor<'a>,
}

impl OnDevice for FitWork<'_> {
    type Output = Fit;

    fn run<B: Backend>(self, backend: &B) -> Result<Fit> {
        trained(backend, self)
    }
}

fn epochs_before(resume: Option<&(Checkpoint, Resume)>) -> Result<usize> {
    resume.map_or(Ok(0), |(_, resume)| resume.n_epochs())
}

fn trained<B: Backend>(backend: &B, work: FitWork) -> Result<Fit> {
    let FitWork {
        matrix,
        all_codes,
        plan,
        task,
        mut monitor,
    } = work;
    let Task {
        settings,
        checkpoints,
        resume,
    } = task;
    let settings = &settings;
    let batches = &plan.batches;
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
    monitor.place.epochs_before = epochs_before(resume.as_ref())?;
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
        fingerprint: match checkpoints {
            Some(_) => Fingerprint::of(&view, &codes, &gene_names),
            None => Fingerprint::default(),
        },
    };
    let folder = checkpoints.as_ref().map(|c| c.folder.as_path());
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
    if let Some(checkpoints) = &checkpoints {
        training.save_with(checkpoints.every, &save);
    }
    let trained = training.run()?;
    // From here on the processor serves: what is returned is to the last bit what `predict()` gives later.
    let model = trained.model.to_device(&Cpu)?;
    // The first Ctrl-C ends the training, of which something is left; the next one ends everything.
    let should_stop = || monitor.reporter.interrupts() > usize::from(plan.keep_interrupted);
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
    fn rs_fit_repeats;
    fn rs_has_checkpoint;
    fn rs_checkpoint_info;
}
