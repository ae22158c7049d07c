//! The training loop: mini-batches, losses, weights (stage I), connections (stage II), validation.

use std::time::Instant;

use candle_core::{Result as CandleResult, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::state::{Generators, SummedOverCells, TrainState};
use super::Monitor;
use crate::backend::{Backend, BeyondBatch};
use crate::counts::CountsView;
use crate::kernels::{GeneStatistic, Segment, Wiring};
use crate::layers::{adjust, connections_of_genes, Criterion, GeneSums};
use crate::model::{
    Dropout, EpochRecord, History, Level, Loss, Mode, Settings, Snapshot, Stopped, TensorId, Vae,
};
use crate::sampling::{chunks, CellRows, Purpose, Sampler, Split};
use crate::{Error, Result};

/// Cells of a validation chunk, but never more than of a mini-batch: a card whose memory a step fits in must not run out
/// of it at a look at the validation cells.
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
    counts: B::Counts,
    validation: Vec<B::Cells>,
    criterion: &'a dyn Criterion,
    batch_shares: Option<BatchShares>,
    /// Levels of the covariate from this one on are all that learns; `None`: everything does.
    pub(super) learns_from: Option<usize>,
    /// Takes the state after every so many epochs, and after the last.
    pub(super) checkpoints: Option<(usize, Saver<'a, B>)>,
    memory: B::LossMemory,
}

/// What a step needs of the host.
struct Prepared<B: Backend> {
    cells: B::Cells,
    noise: Vec<f32>,
    dropout: Dropout,
}

/// What an epoch ended with.
enum Epoch {
    /// All its mini-batches were seen; mean reconstruction loss and KL divergence.
    Finished(f64, f64),
    Interrupted,
    /// Losses or parameters are no numbers any more.
    Diverged,
}

/// Losses of mini-batches, left where the device has them until they are asked for: reading one makes the host wait.
#[derive(Default)]
struct Losses {
    reconstruction: Vec<Tensor>,
    kl: Vec<Tensor>,
    n_cells: Vec<f64>,
}

impl Losses {
    fn add(&mut self, loss: &Loss, n_cells: usize) {
        self.reconstruction.push(loss.reconstruction.detach());
        self.kl.push(loss.kl.detach());
        self.n_cells.push(n_cells as f64);
    }

    /// Means over cells of reconstruction loss and KL divergence.
    fn means(&self) -> Result<[f64; 2]> {
        if self.n_cells.is_empty() {
            return Ok([0.0; 2]);
        }
        let all: f64 = self.n_cells.iter().sum();
        let mean = |of: &[Tensor]| -> Result<f64> {
            let values = Tensor::stack(of, 0)?.to_vec1::<f32>()?;
            let weighted = values
                .iter()
                .zip(&self.n_cells)
                .map(|(&x, n)| f64::from(x) * n);
            Ok(weighted.sum::<f64>() / all)
        };
        Ok([mean(&self.reconstruction)?, mean(&self.kl)?])
    }
}

impl<'a, B: Backend> Trainer<'a, B> {
    pub(super) fn new(
        view: &'a CountsView<'a>,
        split: &Split,
        settings: &'a Settings,
        monitor: &'a dyn Monitor,
        backend: &B,
    ) -> Result<Self> {
        let counts = backend.counts(view)?;
        Ok(Trainer {
            view,
            settings,
            monitor,
            n_train: split.n_train(),
            validation: validation_chunks(split, settings.batch_size)
                .map(|groups| backend.cells(view, &counts, &groups, None))
                .collect(),
            counts,
            criterion: settings.criterion.criterion(),
            batch_shares: BatchShares::wanted(view, split, settings, backend.device())?,
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
            if s.adjust_every > 0 {
                let of_genes = connections_of_genes(state.model.wiring());
                state.history.add_connections(of_genes);
            }
            let kl_weight = s.kl_weight_at(epoch, warmup);
            let (reconstruction, kl) = match self.epoch(&mut state, kl_weight)? {
                Epoch::Finished(reconstruction, kl) => (reconstruction, kl),
                other => break self.leave(other, &mut state, &last_good)?,
            };
            let looks = epoch.is_multiple_of(s.check_val_every_n_epoch);
            let validation = match looks && !self.validation.is_empty() {
                true => Some(self.validate(&state.model)),
                false => None,
            };
            // The epoch is a whole one nevertheless.
            let interrupted = matches!(validation, Some(Err(Error::Interrupted)));
            let validation = match interrupted {
                true => None,
                false => validation.transpose()?,
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
            if !interrupted && adjusts && epoch < max_epochs && !self.has_no_patience(&state) {
                record.connections_changed = self.adjust(&mut state)?;
            }
            record.seconds = Some(start.elapsed().as_secs_f64());
            self.monitor.epoch_done(&record, max_epochs);
            state.history.epochs.push(record);
            if interrupted {
                break self.leave(Epoch::Interrupted, &mut state, &last_good)?;
            }
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
                if !parameter_sum(&state.model)?.is_finite() {
                    state.model.restore(last_good)?;
                }
                Ok(Stopped::Interrupted)
            }
        }
    }

    /// Stage I for one epoch.
    fn epoch(&mut self, state: &mut TrainState<B>, kl_weight: f64) -> Result<Epoch> {
        let mut losses = Losses::default();
        let (view, counts, settings) = (self.view, &self.counts, self.settings);
        let learns_from = self.learns_from;
        let backend = state.model.backend().clone();
        let n_layers = match learns_from {
            None => state.model.encoder.n_dropout_layers(),
            Some(_) => 0,
        };
        let mut drawn = state.sampler.epoch().into_iter();
        let mut follow = |sampler: &mut Sampler, generators: &mut Generators| {
            let groups = drawn.next()?;
            let depth = sampler.depth(&groups);
            let (n_units, rate) = (depth.len() * settings.n_hidden, settings.dropout_rate);
            Some(Prepared {
                cells: backend.cells(view, counts, &groups, Some(&depth)),
                noise: normal(&mut generators.noise, depth.len() * settings.n_latent),
                dropout: Dropout::draw(rate, n_layers, n_units, &mut generators.dropout),
            })
        };
        let mut next = follow(&mut state.sampler, &mut state.generators);
        while let Some(prepared) = next {
            if self.monitor.should_stop() {
                return Ok(Epoch::Interrupted);
            }
            let Prepared::<B> {
                cells,
                noise,
                dropout,
            } = prepared;
            let TrainState {
                model,
                optimiser,
                generators,
                sampler,
                gene_sums,
                ..
            } = state;
            let step = || -> Result<Loss> {
                let noise = latent_noise(noise, cells.n_cells(), model)?;
                let mut mode = match learns_from {
                    None => Mode::Train { dropout },
                    Some(_) => Mode::Frozen,
                };
                let loss = model.loss(&cells, &noise, &mut mode, &mut self.memory)?;
                let gradients = loss.gradients(kl_weight)?;
                let mut parameters = model.parameters();
                if let Some(first) = learns_from {
                    parameters.retain(|(id, _)| belongs_to_level(*id, first));
                }
                optimiser.step(model.backend(), &parameters, &gradients)?;
                let (segments, shares) = (cells.segments(), self.batch_shares.as_ref());
                gene_sums.add(model.backend(), &loss, segments, model.wiring(), shares)?;
                Ok(loss)
            };
            // The next mini-batch is prepared beside the step, which leaves threads idle here and there.
            let (loss, following) = rayon::join(step, || follow(sampler, generators));
            losses.add(&loss?, cells.n_cells());
            next = following;
        }
        let [reconstruction, kl] = losses.means()?;
        let numbers = [reconstruction, kl, parameter_sum(&state.model)?];
        if numbers.iter().all(|x| x.is_finite()) {
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
            // A connection added a moment ago has no weight yet: it is never pruned for being small.
            let weight = |gene: usize, unit: usize| {
                let (units, slots) = list.gene(gene);
                let place = units.binary_search(&(unit as u16));
                place.map_or(f32::INFINITY, |place| weights[slots[place] as usize])
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
        let moves = state.model.rewire(&masks)?;
        state.optimiser.rewire(state.model.backend(), &moves)?;
        Ok(changed)
    }

    /// Reconstruction loss and KL divergence of the validation cells, with the same noise at every look; an error when
    /// interrupted.
    fn validate(&mut self, model: &Vae<B>) -> Result<(f64, f64)> {
        let mut rng = self
            .settings
            .validation_streams()
            .stream(Purpose::Validation, 0);
        let mut losses = Losses::default();
        for cells in &self.validation {
            if self.monitor.should_stop() {
                return Err(Error::Interrupted);
            }
            let noise = normal(&mut rng, cells.n_cells() * self.settings.n_latent);
            let noise = latent_noise(noise, cells.n_cells(), model)?;
            let mode = &mut Mode::Evaluate;
            let loss = model.loss(cells, &noise, mode, &mut self.memory)?;
            losses.add(&loss, cells.n_cells());
        }
        let [reconstruction, kl] = losses.means()?;
        Ok((reconstruction, kl))
    }
}

/// Logs of the genes' shares of all counts of each batch's training cells, for criteria that ask what a model knows beyond
/// these.
struct BatchShares {
    /// Batches x genes, in double precision; 0 for genes without a count there.
    logs: Tensor,
    /// Where the statistics lie that are needed.
    counts: usize,
    log_shares: usize,
}

impl BatchShares {
    fn wanted(
        view: &CountsView,
        split: &Split,
        settings: &Settings,
        device: &candle_core::Device,
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
        let log_shares = |cells: &Vec<usize>| -> Vec<f64> {
            let mut counts = vec![0.0; view.n_genes()];
            for &cell in cells {
                view.for_each_in_cell(cell, |gene, x| counts[gene as usize] += f64::from(x));
            }
            let all: f64 = counts.iter().sum();
            let log = |&x: &f64| if x > 0.0 { (x / all).ln() } else { 0.0 };
            counts.iter().map(log).collect()
        };
        let logs: Vec<f64> = split.train.iter().flat_map(log_shares).collect();
        let shape = (split.train.len(), view.n_genes());
        Ok(Some(BatchShares {
            logs: Tensor::from_vec(logs, shape, device)?,
            counts,
            log_shares: own,
        }))
    }
}

impl SummedOverCells {
    fn add<B: Backend>(
        &mut self,
        backend: &B,
        loss: &Loss,
        segments: &[Segment],
        wiring: &Wiring,
        shares: Option<&BatchShares>,
    ) -> Result<()> {
        let Some(new) = &loss.gene_sums else {
            return Ok(());
        };
        let batches = segments.iter().map(|s| s.batch).collect::<Vec<_>>();
        let masks = batches.iter().map(|&batch| wiring.mask_index(batch));
        let masks = masks.collect::<Vec<_>>();
        for (segment, &mask) in segments.iter().zip(&masks) {
            self.n_cells[mask] += segment.rows.len() as f64;
        }
        let beyond = shares.map(|shares| BeyondBatch {
            log_shares: &shares.logs,
            batches: &batches,
            counts: shares.counts,
            of_statistic: shares.log_shares,
        });
        Ok(backend.add_gene_sums(&self.values, new, &masks, beyond)?)
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
fn parameter_sum<B: Backend>(model: &Vae<B>) -> Result<f64> {
    let parameters = model.parameters();
    let sums = parameters
        .iter()
        .map(|(_, p)| p.as_detached_tensor().sum_all());
    let sums = Tensor::stack(&sums.collect::<CandleResult<Vec<_>>>()?, 0)?;
    Ok(sums.to_vec1::<f32>()?.into_iter().map(f64::from).sum())
}

fn normal(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

fn latent_noise<B: Backend>(noise: Vec<f32>, n_cells: usize, model: &Vae<B>) -> Result<Tensor> {
    let shape = (n_cells, model.settings.n_latent);
    Ok(Tensor::from_vec(noise, shape, model.backend().device())?)
}

/// The validation cells in groups of batches.
fn validation_chunks(split: &Split, batch_size: usize) -> impl Iterator<Item = Vec<Vec<usize>>> {
    let (mut cells, mut batch) = (Vec::new(), Vec::new());
    for (b, of_batch) in split.validation.iter().enumerate() {
        cells.extend(of_batch);
        batch.extend(std::iter::repeat_n(b, of_batch.len()));
    }
    let size = VALIDATION_CHUNK.min(batch_size);
    let chunks = chunks(&cells, &batch, split.validation.len(), size);
    chunks.into_iter().map(|(groups, _)| groups)
}
