//! The training loop: mini-batches, losses, weights (stage I), connections (stage II), validation.

use std::time::Instant;

use candle_core::{Device, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::{device, Adam, EarlyStopping, Monitor};
use crate::counts::CountsView;
use crate::kernels::Workspace;
use crate::layers::adjust;
use crate::model::{
    BatchMasks, Design, EpochRecord, History, Loss, Mode, Settings, Start, Stopped, Vae,
};
use crate::sampling::{chunks, MiniBatch, Purpose, Sampler, Split, Streams};
use crate::{Error, Result};

/// Cells of a validation chunk.
const VALIDATION_CHUNK: usize = 256;

/// A trained model and the record of its training.
pub struct Trained {
    /// The model.
    pub model: Vae,
    /// Its training.
    pub history: History,
}

/// Trains a model on the cells of a view; `batch` is each cell's batch, from 0.
///
/// # Errors
/// [`Error::Argument`] for settings out of range, [`Error::Numerical`] when the loss is no longer a number,
/// [`Error::Interrupted`] when asked to stop before the first epoch is over.
pub fn train(
    view: &CountsView,
    batch: &[usize],
    design: &Design,
    settings: &Settings,
    monitor: &dyn Monitor,
) -> Result<Trained> {
    settings.check()?;
    if settings.batch_masks == BatchMasks::Separate && design.n_levels().len() > 1 {
        return Err(Error::Argument(
            "separate masks need a single covariate: use shared ones, or give one batch".into(),
        ));
    }
    let n_batches = design.n_batches();
    check_batches(view, batch, n_batches)?;
    let device = device(&settings.device)?;
    let streams = Streams::new(settings.seed);
    let should_stop = || monitor.should_stop();
    let means = settings.batch_means;
    let start = Start::of(view, batch, design, means, streams, &should_stop);
    let model = Vae::new(settings, design, &start, &device)?;
    Trainer::new(view, batch, settings, monitor, model, device).run()
}

/// Trains what belongs to the batches from `first` on, everything else stays as it is to the last bit. The cells of the
/// view are all of these batches; `settings` say how long and how fast.
///
/// # Errors
/// As [`train`].
pub fn train_new_batches(
    view: &CountsView,
    batch: &[usize],
    first: usize,
    model: Vae,
    settings: &Settings,
    monitor: &dyn Monitor,
) -> Result<Trained> {
    check_batches(view, batch, model.n_batches())?;
    let settings = Settings {
        // Decay would move the other batches' offsets.
        weight_decay: 0.0,
        adjust_every: 0,
        ..settings.clone()
    };
    settings.check()?;
    let device = device(&settings.device)?;
    let mut trainer = Trainer::new(view, batch, &settings, monitor, model, device);
    trainer.learns_from = Some(first);
    trainer.run()
}

/// Whether a parameter is the decoder's sub-module of a level from `first` on, or holds offsets (those of levels without
/// a cell get no gradient). The encoder's sub-modules stay as [`super::align`] left them: trained by the loss of one batch
/// alone they learn its cells by heart and move them away from the others.
fn belongs_to_level(name: &str, first: usize) -> bool {
    if name.starts_with("decoder.scale.offsets.") {
        return true;
    }
    let level = name
        .strip_prefix("decoder.batch.0.")
        .and_then(|rest| rest.split('.').next());
    level
        .and_then(|level| level.parse::<usize>().ok())
        .is_some_and(|level| level >= first)
}

struct Trainer<'a> {
    view: &'a CountsView<'a>,
    settings: &'a Settings,
    monitor: &'a dyn Monitor,
    device: Device,
    streams: Streams,
    model: Vae,
    optimiser: Adam,
    noise: ChaCha8Rng,
    dropout: ChaCha8Rng,
    adjustment: Vec<ChaCha8Rng>,
    /// Levels of the covariate from this one on are all that learns; `None`: everything does.
    learns_from: Option<usize>,
    /// Per batch and gene, since the last adjustment.
    squared_error: Vec<Vec<f64>>,
    split: Split,
    validation: Vec<MiniBatch>,
    workspace: Workspace,
}

/// Sums over cells.
#[derive(Default, Clone, Copy)]
struct Sums {
    reconstruction: f64,
    kl: f64,
    cells: f64,
}

impl Sums {
    fn add(&mut self, loss: &Loss, n_cells: usize) -> Result<()> {
        let n = n_cells as f64;
        self.reconstruction += f64::from(loss.reconstruction.to_scalar::<f32>()?) * n;
        self.kl += f64::from(loss.kl.to_scalar::<f32>()?) * n;
        self.cells += n;
        Ok(())
    }

    fn means(&self) -> (f64, f64) {
        let n = self.cells.max(1.0);
        (self.reconstruction / n, self.kl / n)
    }
}

impl<'a> Trainer<'a> {
    fn new(
        view: &'a CountsView<'a>,
        batch: &'a [usize],
        settings: &'a Settings,
        monitor: &'a dyn Monitor,
        model: Vae,
        device: Device,
    ) -> Self {
        let n_batches = model.n_batches();
        let streams = Streams::new(settings.seed);
        let split = Split::draw(batch, n_batches, settings.train_size, streams);
        Trainer {
            view,
            settings,
            monitor,
            device,
            streams,
            optimiser: Adam::new(settings.lr, settings.eps, settings.weight_decay),
            noise: streams.stream(Purpose::Latent, 0),
            dropout: streams.stream(Purpose::Dropout, 0),
            adjustment: (0..n_batches as u32)
                .map(|b| streams.stream(Purpose::Adjustment, b))
                .collect(),
            learns_from: None,
            squared_error: vec![vec![0.0; view.n_genes()]; n_batches],
            validation: validation_chunks(view, &split),
            split,
            workspace: Workspace::default(),
            model,
        }
    }

    fn run(mut self) -> Result<Trained> {
        let s = self.settings;
        let split = std::mem::take(&mut self.split);
        let start = Instant::now();
        let max_epochs = s.epochs(split.n_train());
        let warmup = s.kl_warmup(max_epochs);
        let mut sampler = Sampler::new(
            split.train,
            s.batch_size,
            s.sampling,
            s.depth_range,
            self.streams,
        );
        let mut watch = s
            .early_stopping
            .then(|| EarlyStopping::new(s.early_stopping_patience));
        let mut history = History {
            epochs: Vec::with_capacity(max_epochs),
            stopped: Stopped::Completed,
            best_epoch: None,
        };
        for epoch in 1..=max_epochs {
            let kl_weight = s.kl_weight * ((epoch - 1) as f64 / warmup.max(1) as f64).min(1.0);
            let Some(sums) = self.epoch(&mut sampler, kl_weight)? else {
                if epoch == 1 {
                    return Err(Error::Interrupted);
                }
                history.stopped = Stopped::Interrupted;
                break;
            };
            let (reconstruction, kl) = sums.means();
            let looks = epoch % s.check_val_every_n_epoch == 0 && !self.validation.is_empty();
            let validation = if looks { Some(self.validate()?) } else { None };
            let mut record = EpochRecord {
                epoch,
                elbo_train: reconstruction + kl,
                reconstruction_loss_train: reconstruction,
                kl_local_train: kl,
                kl_weight,
                elbo_validation: validation.map(|(r, k)| r + k),
                reconstruction_loss_validation: validation.map(|(r, _)| r),
                kl_local_validation: validation.map(|(_, k)| k),
                connections_changed: 0,
                seconds: None,
            };
            let mut stop = false;
            if let (Some(watch), Some(loss)) = (&mut watch, record.elbo_validation) {
                stop = watch.observe(epoch, loss, &self.model)?;
            }
            if s.adjust_every > 0 && epoch % s.adjust_every == 0 && epoch < max_epochs && !stop {
                record.connections_changed = self.adjust()?;
            }
            record.seconds = Some(start.elapsed().as_secs_f64());
            self.monitor.epoch_done(&record, max_epochs);
            history.epochs.push(record);
            if stop {
                history.stopped = Stopped::EarlyStopping;
                break;
            }
        }
        if let Some(watch) = watch {
            history.best_epoch = watch.restore(&mut self.model)?;
        }
        Ok(Trained {
            model: self.model,
            history,
        })
    }

    /// Stage I for one epoch; `None` when asked to stop.
    fn epoch(&mut self, sampler: &mut Sampler, kl_weight: f64) -> Result<Option<Sums>> {
        let mut sums = Sums::default();
        let view = self.view;
        let mut cells = sampler.epoch().into_iter();
        let mut gather = || cells.next().map(|cells| sampler.gather(view, &cells));
        let mut next = gather();
        while let Some(minibatch) = next {
            if self.monitor.should_stop() {
                return Ok(None);
            }
            // The next mini-batch is gathered beside the step, which leaves threads idle here and there.
            let (loss, gathered) = rayon::join(|| self.step(&minibatch, kl_weight), &mut gather);
            sums.add(&loss?, minibatch.n_cells())?;
            next = gathered;
        }
        Ok(Some(sums))
    }

    fn step(&mut self, minibatch: &MiniBatch, kl_weight: f64) -> Result<Loss> {
        let noise = normal(&mut self.noise, minibatch, self.settings, &self.device)?;
        let mut mode = match self.learns_from {
            None => Mode::Train {
                dropout_rate: self.settings.dropout_rate,
                rng: &mut self.dropout,
            },
            Some(_) => Mode::Frozen,
        };
        let workspace = &mut self.workspace;
        let loss = self.model.loss(minibatch, &noise, &mut mode, workspace)?;
        if !loss.total(kl_weight)?.to_scalar::<f32>()?.is_finite() {
            return Err(Error::Numerical(format!(
                "the loss is no longer a number: lower lr (now {})",
                self.settings.lr
            )));
        }
        let gradients = loss.gradients(kl_weight, &self.workspace)?;
        let mut parameters = self.model.parameters();
        if let Some(first) = self.learns_from {
            parameters.retain(|(name, _)| belongs_to_level(name, first));
        }
        self.optimiser.step(&parameters, &gradients)?;
        for (sums, new) in self
            .squared_error
            .iter_mut()
            .zip(&self.workspace.gradients.squared_error)
        {
            for (sum, &new) in sums.iter_mut().zip(new) {
                *sum += f64::from(new);
            }
        }
        Ok(loss)
    }

    /// Stage II; the number of connections changed.
    fn adjust(&mut self) -> Result<usize> {
        let rules = self.settings.adjustment_rules();
        let mut masks = self.model.masks();
        if masks.len() == 1 {
            // One mask for all batches is adjusted from all their cells.
            let rest = self.squared_error.split_off(1);
            for other in &rest {
                for (sum, x) in self.squared_error[0].iter_mut().zip(other) {
                    *sum += x;
                }
            }
            self.squared_error.extend(rest);
        }
        let weights = self.model.encoder.weights.to_vec1::<f32>()?;
        let wiring = self.model.wiring.clone();
        let mut changed = 0;
        for (b, mask) in masks.iter_mut().enumerate() {
            let list = wiring.mask(b);
            let weight = |gene: usize, unit: usize| {
                let (units, slots) = list.gene(gene);
                // A connection added a moment ago has no weight yet: it is never pruned for being small.
                match units.binary_search(&(unit as u16)) {
                    Ok(i) => weights[slots[i] as usize],
                    Err(_) => f32::INFINITY,
                }
            };
            let rng = &mut self.adjustment[b];
            changed += adjust(mask, &self.squared_error[b], weight, &rules, rng).total();
        }
        for sums in &mut self.squared_error {
            sums.fill(0.0);
        }
        let rewired = self.model.rewire(&masks)?;
        self.optimiser.rewire(&rewired);
        Ok(changed)
    }

    /// Reconstruction loss and KL divergence of the validation cells, with the same noise at every look.
    fn validate(&mut self) -> Result<(f64, f64)> {
        let mut rng = self.streams.stream(Purpose::Validation, 0);
        let mut sums = Sums::default();
        for minibatch in &self.validation {
            let noise = normal(&mut rng, minibatch, self.settings, &self.device)?;
            let mode = &mut Mode::Evaluate;
            let loss = self
                .model
                .loss(minibatch, &noise, mode, &mut self.workspace)?;
            sums.add(&loss, minibatch.n_cells())?;
        }
        Ok(sums.means())
    }
}

fn normal(
    rng: &mut ChaCha8Rng,
    minibatch: &MiniBatch,
    settings: &Settings,
    device: &Device,
) -> Result<Tensor> {
    let shape = (minibatch.n_cells(), settings.n_latent);
    let draws: Vec<f32> = (0..shape.0 * shape.1)
        .map(|_| rng.sample(StandardNormal))
        .collect();
    Ok(Tensor::from_vec(draws, shape, device)?)
}

fn check_batches(view: &CountsView, batch: &[usize], n_batches: usize) -> Result<()> {
    if batch.len() != view.n_cells() || batch.iter().any(|&b| b >= n_batches) {
        return Err(Error::Argument(format!(
            "{} batch codes below {n_batches} are needed, one per cell",
            view.n_cells()
        )));
    }
    Ok(())
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

fn validation_chunks(view: &CountsView, split: &Split) -> Vec<MiniBatch> {
    let (mut cells, mut batch) = (Vec::new(), Vec::new());
    for (b, of_batch) in split.validation.iter().enumerate() {
        cells.extend(of_batch);
        batch.extend(std::iter::repeat_n(b, of_batch.len()));
    }
    chunks(&cells, &batch, split.validation.len(), VALIDATION_CHUNK)
        .iter()
        .map(|(groups, _)| MiniBatch::gather(view, groups, None))
        .collect()
}
