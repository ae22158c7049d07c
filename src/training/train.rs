//! From counts and settings to a trained model.

use super::state::TrainState;
use super::trainer::{Saver, Trained, Trainer};
use super::Monitor;
use crate::backend::Backend;
use crate::batches::{Design, InitialValues};
use crate::counts::CountsView;
use crate::model::{BatchMasks, Settings, Vae};
use crate::sampling::{Split, Streams};
use crate::{Error, Result};

/// The cells that a model is trained with, and what is known of them.
#[derive(Clone, Copy)]
pub struct TrainingCells<'a> {
    /// Their counts.
    pub view: &'a CountsView<'a>,
    /// Each cell's batch, from 0.
    pub batch: &'a [usize],
    /// The covariates that the batches stand for.
    pub design: &'a Design,
}

/// Trains a model on the device of a backend.
///
/// # Errors
/// [`Error::Argument`] for settings out of range, [`Error::Numerical`] when the loss is no number in the first epoch,
/// [`Error::Interrupted`] when stopped before its end.
///
/// ```
/// use scvae::backend::Cpu;
/// use scvae::batches::Design;
/// use scvae::counts::filter;
/// use scvae::model::{Settings, Stopped};
/// use scvae::training::{train, Silent, TrainingCells};
///
/// # let values = (0..40 * 12).map(|i| (i * i % 7 * ((i / 12 + i) % 2)) as f32).collect();
/// # let genes = (0..40).flat_map(|_cell| 0..12).collect();
/// # let offsets = (0..=40).map(|cell| 12 * cell).collect();
/// # let matrix = scvae::counts::CountMatrix::from_csr(offsets, genes, values, 12)?;
/// let view = filter(&matrix, 3, 2)?;
/// let batch: Vec<usize> = (0..view.n_cells()).map(|cell| cell / 2 % 2).collect();
/// let cells = TrainingCells { view: &view, batch: &batch, design: &Design::single(2) };
/// let settings = Settings { n_hidden: 16, n_latent: 2, max_epochs: Some(2), ..Settings::default() };
/// let trained = train(cells, &settings, &Cpu, &Silent)?;
/// assert_eq!(trained.history.stopped, Stopped::Completed);
/// assert_eq!(trained.history.epochs.len(), 2);
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn train<B: Backend>(
    cells: TrainingCells,
    settings: &Settings,
    backend: &B,
    monitor: &dyn Monitor,
) -> Result<Trained<B>> {
    Training::new(cells, settings, backend, monitor)?.run()
}

/// A training that is about to start, or to go on.
pub struct Training<'a, B: Backend> {
    trainer: Trainer<'a, B>,
    /// Where it starts.
    pub state: TrainState<B>,
}

impl<'a, B: Backend> Training<'a, B> {
    /// A training from the start.
    ///
    /// # Errors
    /// [`Error::Argument`] for settings out of range or batches that do not fit, [`Error::Interrupted`] when asked to stop.
    pub fn new(
        cells: TrainingCells<'a>,
        settings: &'a Settings,
        backend: &B,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        let TrainingCells {
            view,
            batch,
            design,
        } = cells;
        let split = checked_split(cells, settings)?;
        let streams = Streams::new(settings.seed);
        let should_stop = || monitor.should_stop();
        let means = settings.batch_means;
        let initial = InitialValues::of(view, batch, design, means, streams, &should_stop)?;
        let model = Vae::new(&known(settings, &split), design, &initial, backend)?;
        Ok(Training {
            trainer: Trainer::new(view, &split, settings, monitor, backend)?,
            state: TrainState::new(model, &split, settings)?,
        })
    }

    /// A training of the same cells with the same settings that is to go on from parts of its state, which are put into
    /// [`Training::state`].
    ///
    /// # Errors
    /// As [`Training::new`].
    pub fn to_resume(
        cells: TrainingCells<'a>,
        settings: &'a Settings,
        backend: &B,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        let split = checked_split(cells, settings)?;
        let initial = InitialValues::flat(cells.view.n_genes(), cells.design);
        let model = Vae::new(&known(settings, &split), cells.design, &initial, backend)?;
        Ok(Training {
            trainer: Trainer::new(cells.view, &split, settings, monitor, backend)?,
            state: TrainState::new(model, &split, settings)?,
        })
    }

    /// Hands the state over after every `every` epochs, and after the last.
    pub fn save_with(&mut self, every: usize, save: Saver<'a, B>) {
        self.trainer.checkpoints = Some((every.max(1), save));
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// As [`train`], and what saving returns.
    pub fn run(self) -> Result<Trained<B>> {
        self.trainer.run(self.state)
    }
}

/// Trains what belongs to the batches from `first` on, everything else stays as it is to the last bit. The cells of the
/// view are all of these batches; `settings` say how long and how fast.
///
/// # Errors
/// As [`train`].
pub fn train_new_batches<B: Backend>(
    view: &CountsView,
    batch: &[usize],
    first: usize,
    model: Vae<B>,
    settings: &Settings,
    monitor: &dyn Monitor,
) -> Result<Trained<B>> {
    let settings = Settings {
        // Decay would move the other batches' offsets.
        weight_decay: Some(0.0),
        adjust_every: 0,
        ..settings.clone()
    };
    let design = model.design.clone();
    let cells = TrainingCells {
        view,
        batch,
        design: &design,
    };
    let split = checked_split(cells, &settings)?;
    let mut trainer = Trainer::new(view, &split, &settings, monitor, model.backend())?;
    trainer.learns_from = Some(first);
    trainer.run(TrainState::new(model, &split, &settings)?)
}

/// Settings with what they left to the number of cells, for the model to remember.
fn known(settings: &Settings, split: &Split) -> Settings {
    Settings {
        weight_decay: Some(settings.weight_decay(split.n_train())),
        ..settings.clone()
    }
}

fn checked_split(cells: TrainingCells, settings: &Settings) -> Result<Split> {
    settings.check()?;
    let (n_levels, n_batches) = (cells.design.n_levels(), cells.design.n_batches());
    if settings.batch_masks == BatchMasks::Separate && n_levels.len() > 1 {
        return Err(Error::Argument(
            "separate masks need a single covariate: use shared ones, or give one batch".into(),
        ));
    }
    let (n_cells, batch) = (cells.view.n_cells(), cells.batch);
    if batch.len() != n_cells || batch.iter().any(|&b| b >= n_batches) {
        return Err(Error::Argument(format!(
            "{n_cells} batch codes below {n_batches} are needed, one per cell"
        )));
    }
    let streams = settings.validation_streams();
    let split = Split::draw(batch, n_batches, settings.train_size, streams);
    if settings.early_stopping && split.n_validation() == 0 {
        return Err(Error::Argument(format!(
            "early_stopping needs validation cells, and train_size = {} leaves none in batches this small: lower train_size",
            settings.train_size
        )));
    }
    Ok(split)
}

/// Fewest cells of a batch: below, its masks and sub-modules would learn single cells.
const LEAST_CELLS_OF_BATCH: usize = 3;

/// Checks that every batch has cells enough to learn from; `names` may be empty when there are no batches.
///
/// # Errors
/// [`Error::Argument`] naming the first batch that has too few.
pub fn check_batch_sizes(batch: &[usize], names: &[String]) -> Result<()> {
    for (b, name) in names.iter().enumerate() {
        let n = batch.iter().filter(|&&x| x == b).count();
        if n < LEAST_CELLS_OF_BATCH {
            return Err(Error::Argument(format!(
                "batch {name} has {n} cells after the filter, at least {LEAST_CELLS_OF_BATCH} are needed: drop it, join \
                 it to another batch or lower min_genes"
            )));
        }
    }
    Ok(())
}
