//! The training loop: mini-batches, losses, weights (stage I), connections (stage II), validation.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::state::{SummedOverCells, TrainState};
use super::Monitor;
use crate::backend::Backend;
use crate::counts::CountsView;
use crate::kernels::{GeneStatistic, Wiring};
use crate::layers::{adjust, Criterion, GeneSums};
use crate::model::{
    EpochRecord, History, Level, Loss, Mode, Settings, Snapshot, Stopped, TensorId, Vae,
};
use crate::sampling::{chunks, MiniBatch, Purpose, Split, Streams};
use crate::{Error, Result};

/// Cells of a validation chunk.
const VALIDATION_CHUNK: usize = 256;

/// Called with the state after epochs.
pub type Saver<'a, B> = &'a dyn Fn(&TrainState<B>) -> Result<()>;

/// A trained model and the record of its training.
pub struct Trained<B: Backend> {
    /// The model.
    pub model: Vae<B>,
    /// Its training.
    pub history: History,
}

/// Advances a state over the cells of a view.
pub(super) struct Trainer<'a, B: Backend> {
    view: &'a CountsView<'a>,
    settings: &'a Settings,
    monitor: &'a dyn Monitor,
    n_train: usize,
    validation: Vec<MiniBatch>,
    criterion: &'a dyn Criterion,
    batch_shares: Option<BatchShares>,
    /// Levels of the covariate from this one on are all that learns; `None`: everything does.
    pub(super) learns_from: Option<usize>,
    /// Takes the state after every so many epochs, and after the last.
    pub(super) checkpoints: Option<(usize, Saver<'a, B>)>,
    memory: B::LossMemory,
}

/// What an epoch ended with.
enum Epoch {
    /// All its mini-batches were seen; mean reconstruction loss and KL divergence.
    Finished(f64, f64),
    Interrupted,
    /// Losses or parameters are no numbers any more.
    Diverged,
}

/// Sums over cells, where the device has them.
struct Sums {
    reconstruction: Tensor,
    kl: Tensor,
    cells: f64,
}

impl Sums {
    fn new<B: Backend>(backend: &B) -> Result<Self> {
        let zero = Tensor::zeros((), DType::F64, backend.device())?;
        Ok(Sums {
            reconstruction: zero.clone(),
            kl: zero,
            cells: 0.0,
        })
    }

    fn add(&mut self, loss: &Loss, n_cells: usize) -> Result<()> {
        let n = n_cells as f64;
        let weighted = |x: &Tensor| x.detach().to_dtype(DType::F64)? * n;
        self.reconstruction = (&self.reconstruction + weighted(&loss.reconstruction)?)?;
        self.kl = (&self.kl + weighted(&loss.kl)?)?;
        self.cells += n;
        Ok(())
    }

    /// Means of reconstruction loss and KL divergence; with `checked`, a number that is finite if these and it are.
    fn read(&self, checked: Option<Tensor>) -> Result<[f64; 3]> {
        let checked = match checked {
            Some(checked) => checked.to_dtype(DType::F64)?,
            None => self.kl.zeros_like()?,
        };
        let all = Tensor::stack(&[&self.reconstruction, &self.kl, &checked], 0)?;
        let all = all.to_vec1::<f64>()?;
        let n = self.cells.max(1.0);
        Ok([all[0] / n, all[1] / n, all[2]])
    }
}

impl<'a, B: Backend> Trainer<'a, B> {
    pub(super) fn new(
        view: &'a CountsView<'a>,
        split: &Split,
        settings: &'a Settings,
        monitor: &'a dyn Monitor,
        device: &Device,
    ) -> Result<Self> {
        Ok(Trainer {
            view,
            settings,
            monitor,
            n_train: split.n_train(),
            validation: validation_chunks(view, split),
            criterion: settings.criterion.criterion(),
            batch_shares: BatchShares::wanted(view, split, settings, device)?,
            learns_from: None,
            checkpoints: None,
            memory: B::LossMemory::default(),
        })
    }

    /// Advances the state until its training ends.
    pub(super) fn run(mut self, mut state: TrainState<B>) -> Result<Trained<B>> {
        let (s, start) = (self.settings, Instant::now());
        let max_epochs = s.epochs(self.n_train);
        let warmup = s.kl_warmup(max_epochs);
        let stopped = loop {
            if let Some(ended) = self.ended(&state, max_epochs) {
                break ended;
            }
            let epoch = state.history.epochs.len() + 1;
            let last_good = state.model.snapshot()?;
            let kl_weight = s.kl_weight_at(epoch, warmup);
            let (reconstruction, kl) = match self.epoch(&mut state, kl_weight)? {
                Epoch::Finished(reconstruction, kl) => (reconstruction, kl),
                other => break self.leave(other, &mut state, &last_good)?,
            };
            let looks = epoch.is_multiple_of(s.check_val_every_n_epoch);
            let validation = match looks && !self.validation.is_empty() {
                true => match self.validate(&state.model) {
                    Err(Error::Interrupted) => {
                        break self.leave(Epoch::Interrupted, &mut state, &last_good)?
                    }
                    validation => Some(validation?),
                },
                false => None,
            };
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
            if let (true, Some(loss)) = (s.early_stopping, record.elbo_validation) {
                state.early_stopping.observe(epoch, loss, &state.model)?;
            }
            let adjusts = s.adjust_every > 0 && epoch.is_multiple_of(s.adjust_every);
            if adjusts && epoch < max_epochs && !self.has_no_patience(&state) {
                record.connections_changed = self.adjust(&mut state)?;
            }
            record.seconds = Some(start.elapsed().as_secs_f64());
            self.monitor.epoch_done(&record, max_epochs);
            state.history.epochs.push(record);
            if let Some((every, save)) = self.checkpoints {
                if epoch.is_multiple_of(every) || self.ended(&state, max_epochs).is_some() {
                    save(&state)?;
                }
            }
        };
        state.history.stopped = stopped;
        if s.early_stopping {
            state.history.best_epoch = state.early_stopping.restore(&mut state.model)?;
        }
        Ok(Trained {
            model: state.model,
            history: state.history,
        })
    }

    /// How the training ended, if it did.
    fn ended(&self, state: &TrainState<B>, max_epochs: usize) -> Option<Stopped> {
        if self.has_no_patience(state) {
            return Some(Stopped::EarlyStopping);
        }
        (state.history.epochs.len() >= max_epochs).then_some(Stopped::Completed)
    }

    fn has_no_patience(&self, state: &TrainState<B>) -> bool {
        let s = self.settings;
        s.early_stopping
            && state.early_stopping.checks_without_progress >= s.early_stopping_patience
    }

    /// An epoch that did not finish. An interrupted one leaves the model as far as it came, if that is anywhere; one that
    /// diverged leaves the model of the epoch before.
    fn leave(
        &self,
        epoch: Epoch,
        state: &mut TrainState<B>,
        last_good: &Snapshot,
    ) -> Result<Stopped> {
        let first = state.history.epochs.is_empty();
        match epoch {
            Epoch::Diverged if first => Err(Error::Numerical(format!(
                "the loss is no longer a number within the first epoch: lower lr (now {})",
                self.settings.lr
            ))),
            Epoch::Diverged => {
                state.model.restore(last_good)?;
                Ok(Stopped::Diverged)
            }
            _ if first => Err(Error::Interrupted),
            _ => {
                let checked = parameter_sum(&state.model)?.to_dtype(DType::F64)?;
                if !checked.to_scalar::<f64>()?.is_finite() {
                    state.model.restore(last_good)?;
                }
                Ok(Stopped::Interrupted)
            }
        }
    }

    /// Stage I for one epoch.
    fn epoch(&mut self, state: &mut TrainState<B>, kl_weight: f64) -> Result<Epoch> {
        let mut sums = Sums::new(state.model.backend())?;
        let view = self.view;
        let mut cells = state.sampler.epoch().into_iter();
        let mut next = cells.next().map(|cells| state.sampler.gather(view, &cells));
        while let Some(minibatch) = next {
            if self.monitor.should_stop() {
                return Ok(Epoch::Interrupted);
            }
            let TrainState {
                model,
                optimiser,
                generators,
                sampler,
                gene_sums,
                ..
            } = state;
            let step = || -> Result<Loss> {
                let noise = normal(&mut generators.noise, &minibatch, model)?;
                let mut mode = match self.learns_from {
                    None => Mode::Train {
                        dropout_rate: self.settings.dropout_rate,
                        rng: &mut generators.dropout,
                    },
                    Some(_) => Mode::Frozen,
                };
                let loss = model.loss(&minibatch, &noise, &mut mode, &mut self.memory)?;
                let gradients = loss.gradients(kl_weight)?;
                let mut parameters = model.parameters();
                if let Some(first) = self.learns_from {
                    parameters.retain(|(id, _)| belongs_to_level(*id, first));
                }
                optimiser.step(model.backend(), &parameters, &gradients)?;
                gene_sums.add(
                    &loss,
                    &minibatch,
                    model.wiring(),
                    self.batch_shares.as_ref(),
                )?;
                Ok(loss)
            };
            // The next mini-batch is gathered beside the step, which leaves threads idle here and there.
            let gather = || cells.next().map(|cells| sampler.gather(view, &cells));
            let (loss, gathered) = rayon::join(step, gather);
            sums.add(&loss?, minibatch.n_cells())?;
            next = gathered;
        }
        let [reconstruction, kl, checked] = sums.read(Some(parameter_sum(&state.model)?))?;
        if [reconstruction, kl, checked].iter().all(|x| x.is_finite()) {
            Ok(Epoch::Finished(reconstruction, kl))
        } else {
            Ok(Epoch::Diverged)
        }
    }

    /// Stage II; the number of connections changed. A mask none of whose cells was seen since the last time stays as it
    /// is.
    fn adjust(&self, state: &mut TrainState<B>) -> Result<usize> {
        let rules = self.settings.adjustment_rules();
        let mut masks = state.model.masks();
        let weights = state.model.encoder.weights.to_vec1::<f32>()?;
        let wiring = state.model.wiring().clone();
        let log_theta = match &state.model.decoder.log_theta {
            Some(log_theta) => Some(log_theta.to_vec1::<f32>()?),
            None => None,
        };
        let mut changed = 0;
        for (m, mask) in masks.iter_mut().enumerate() {
            let n_cells = state.gene_sums.n_cells[m];
            if n_cells == 0.0 {
                continue;
            }
            let list = wiring.mask(m);
            let weight = |gene: usize, unit: usize| {
                let (units, slots) = list.gene(gene);
                // A connection added a moment ago has no weight yet: it is never pruned for being small.
                match units.binary_search(&(unit as u16)) {
                    Ok(i) => weights[slots[i] as usize],
                    Err(_) => f32::INFINITY,
                }
            };
            let sums = state.gene_sums.values.narrow(0, m, 1)?.flatten_all()?;
            let need = self.criterion.need(&GeneSums {
                statistics: self.criterion.statistics(),
                values: &sums.to_vec1::<f64>()?,
                n_cells,
                log_theta: log_theta.as_deref(),
            });
            let rng = &mut state.generators.adjustment[m];
            changed += adjust(mask, &need, &weight, &rules, rng).total();
        }
        state.gene_sums.clear()?;
        let inheritance = state.model.rewire(&masks)?;
        state.optimiser.rewire(&inheritance)?;
        Ok(changed)
    }

    /// Reconstruction loss and KL divergence of the validation cells, with the same noise at every look; an error when
    /// interrupted.
    fn validate(&mut self, model: &Vae<B>) -> Result<(f64, f64)> {
        let mut rng = Streams::new(self.settings.seed).stream(Purpose::Validation, 0);
        let mut sums = Sums::new(model.backend())?;
        for minibatch in &self.validation {
            if self.monitor.should_stop() {
                return Err(Error::Interrupted);
            }
            let noise = normal(&mut rng, minibatch, model)?;
            let mode = &mut Mode::Evaluate;
            let loss = model.loss(minibatch, &noise, mode, &mut self.memory)?;
            sums.add(&loss, minibatch.n_cells())?;
        }
        let [reconstruction, kl, _] = sums.read(None)?;
        Ok((reconstruction, kl))
    }
}

/// Logs of the genes' shares of all counts of each batch's training cells, for criteria that ask what a model knows beyond
/// these.
struct BatchShares {
    /// By batch, 1 x genes; 0 for genes without a count there.
    logs: Vec<Tensor>,
    /// Where the statistics lie that are needed.
    counts: usize,
    log_shares: usize,
}

impl BatchShares {
    fn wanted(
        view: &CountsView,
        split: &Split,
        settings: &Settings,
        device: &Device,
    ) -> Result<Option<Self>> {
        let criterion = settings.criterion.criterion();
        let place = |wanted| criterion.statistics().iter().position(|&s| s == wanted);
        let places = [GeneStatistic::Count, GeneStatistic::LogShare].map(place);
        let [Some(counts), Some(own)] = places else {
            return Ok(None);
        };
        if !criterion.beyond_batch() || settings.adjust_every == 0 {
            return Ok(None);
        }
        let log_shares = |cells: &Vec<usize>| -> Result<Tensor> {
            let mut counts = vec![0.0; view.n_genes()];
            for &cell in cells {
                view.for_each_in_cell(cell, |gene, x| counts[gene as usize] += f64::from(x));
            }
            let all: f64 = counts.iter().sum();
            let log = |&x: &f64| if x > 0.0 { (x / all).ln() } else { 0.0 };
            let logs = counts.iter().map(log).collect();
            Ok(Tensor::from_vec(logs, (1, view.n_genes()), device)?)
        };
        let of_batches = split.train.iter().map(log_shares);
        Ok(Some(BatchShares {
            logs: of_batches.collect::<Result<_>>()?,
            counts,
            log_shares: own,
        }))
    }

    /// Takes what a batch's shares explain off the sums of its cells, statistics x genes.
    fn take_off(&self, batch: usize, sums: &Tensor) -> Result<Tensor> {
        let explained = (sums.narrow(0, self.counts, 1)? * &self.logs[batch])?;
        let beyond = (sums.narrow(0, self.log_shares, 1)? - explained)?;
        let sums = sums.force_contiguous()?;
        sums.slice_set(&beyond, 0, self.log_shares)?;
        Ok(sums)
    }
}

impl SummedOverCells {
    fn add(
        &mut self,
        loss: &Loss,
        minibatch: &MiniBatch,
        wiring: &Wiring,
        shares: Option<&BatchShares>,
    ) -> Result<()> {
        let Some(new) = &loss.gene_sums else {
            return Ok(());
        };
        let new = new.to_dtype(DType::F64)?;
        for (row, segment) in minibatch.segments.iter().enumerate() {
            let mask = wiring.mask_index(segment.batch);
            let sum = self.values.narrow(0, mask, 1)?.squeeze(0)?;
            let mut own = new.narrow(1, row, 1)?.squeeze(1)?;
            if let Some(shares) = shares {
                own = shares.take_off(segment.batch, &own)?;
            }
            let sum = (sum + own)?;
            self.values.slice_set(&sum.unsqueeze(0)?, 0, mask)?;
            self.n_cells[mask] += segment.rows.len() as f64;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        self.values = self.values.zeros_like()?;
        self.n_cells.fill(0.0);
        Ok(())
    }
}

/// Whether a parameter is the decoder's sub-module of a level from `first` on, or holds offsets (those of levels without
/// a cell get no gradient). The encoder's sub-modules stay as they were set: trained by the loss of one batch alone they
/// learn its cells by heart and move them away from the others.
fn belongs_to_level(id: TensorId, first: usize) -> bool {
    match id {
        TensorId::ScaleOffsets(_) => true,
        TensorId::DecoderBatch(Level { level, .. }, _) => level >= first,
        _ => false,
    }
}

/// The sum of all parameters: a number only as long as all of them are.
fn parameter_sum<B: Backend>(model: &Vae<B>) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), DType::F32, model.backend().device())?;
    for (_, parameter) in model.parameters() {
        sum = (sum + parameter.as_detached_tensor().sum_all()?)?;
    }
    Ok(sum)
}

fn normal<B: Backend>(
    rng: &mut ChaCha8Rng,
    minibatch: &MiniBatch,
    model: &Vae<B>,
) -> Result<Tensor> {
    let shape = (minibatch.n_cells(), model.settings.n_latent);
    let draws: Vec<f32> = (0..shape.0 * shape.1)
        .map(|_| rng.sample(StandardNormal))
        .collect();
    Ok(Tensor::from_vec(draws, shape, model.backend().device())?)
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
