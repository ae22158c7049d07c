//! All that training advances from epoch to epoch, in a form that can be taken apart, kept and put together again.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Adam, EarlyStopping};
use crate::backend::{Backend, Cpu};
use crate::model::{History, Settings, Snapshot, TensorId, Vae};
use crate::sampling::{Purpose, Sampler, Split, Streams};
use crate::{Error, Result};

/// A training between two epochs.
#[derive(Debug)]
pub struct TrainState<B: Backend = Cpu> {
    /// The model.
    pub model: Vae<B>,
    /// One record per finished epoch.
    pub history: History,
    pub(super) optimiser: Adam,
    pub(super) sampler: Sampler,
    pub(super) generators: Generators,
    pub(super) gene_sums: SummedOverCells,
    pub(super) early_stopping: EarlyStopping,
}

/// The random streams that go on from epoch to epoch, beside the sampler's.
#[derive(Debug)]
pub(super) struct Generators {
    pub(super) noise: ChaCha8Rng,
    pub(super) dropout: ChaCha8Rng,
    /// One per mask.
    pub(super) adjustment: Vec<ChaCha8Rng>,
}

/// What the criterion asks for, since the last adjustment of the connections.
#[derive(Debug)]
pub(super) struct SummedOverCells {
    /// Masks x statistics x genes, in double precision.
    pub(super) values: Tensor,
    /// Cells that they are summed over, per mask.
    pub(super) n_cells: Vec<f64>,
}

/// Where a training stands, apart from its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Steps of the optimiser.
    pub steps: i32,
    /// How far the random streams are: cells, depth, latent noise, dropout, and one adjustment per mask.
    pub positions: Vec<u64>,
    /// Cells that the genes' sums are of, per mask.
    pub n_cells: Vec<f64>,
    /// Looks at the validation loss without progress.
    pub checks_without_progress: usize,
    /// Validation loss and epoch of the best model.
    pub best: Option<(f64, usize)>,
}

/// A training taken apart: with the counts and the settings, all that is needed to go on.
#[derive(Debug, Clone)]
pub struct StateParts {
    /// Where it stands.
    pub standing: Standing,
    /// The model.
    pub model: Snapshot,
    /// The best model, with early stopping.
    pub best: Option<Snapshot>,
    /// The optimiser's moments.
    pub moments: BTreeMap<TensorId, Tensor>,
    /// Masks x statistics x genes, sums over the cells since the last adjustment, in double precision.
    pub gene_sums: Tensor,
    /// The record so far.
    pub history: History,
}

impl<B: Backend> TrainState<B> {
    /// The state before the first epoch; the cells of `split` train.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(model: Vae<B>, split: &Split, settings: &Settings) -> Result<Self> {
        let streams = Streams::new(settings.seed);
        let n_masks = model.wiring().masks.len();
        let statistics = settings.criterion.criterion().statistics();
        let shape = (n_masks, statistics.len(), model.n_genes());
        Ok(TrainState {
            history: History::default(),
            optimiser: Adam::new(
                settings.lr,
                settings.eps,
                settings.weight_decay(split.n_train()),
            ),
            sampler: Sampler::new(
                split.train.clone(),
                settings.batch_size,
                settings.sampling,
                settings.depth_range,
                streams,
            ),
            generators: Generators {
                noise: streams.stream(Purpose::Latent, 0),
                dropout: streams.stream(Purpose::Dropout, 0),
                adjustment: (0..n_masks as u32)
                    .map(|mask| streams.stream(Purpose::Adjustment, mask))
                    .collect(),
            },
            gene_sums: SummedOverCells {
                values: Tensor::zeros(shape, DType::F64, model.backend().device())?,
                n_cells: vec![0.0; n_masks],
            },
            early_stopping: EarlyStopping::default(),
            model,
        })
    }

    /// Copies of all its parts.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn parts(&self) -> Result<StateParts> {
        let g = &self.generators;
        let others = [&g.noise, &g.dropout].into_iter().chain(&g.adjustment);
        let others = others.map(ChaCha8Rng::get_word_pos);
        // 2^64 numbers from a stream are never drawn.
        let positions = self.sampler.positions().into_iter().chain(others);
        let positions = positions.map(|position| position as u64).collect();
        let best = &self.early_stopping.best;
        let moments = self.optimiser.moments.iter();
        Ok(StateParts {
            standing: Standing {
                steps: self.optimiser.steps,
                positions,
                n_cells: self.gene_sums.n_cells.clone(),
                checks_without_progress: self.early_stopping.checks_without_progress,
                best: best.as_ref().map(|best| (best.loss, best.epoch)),
            },
            model: self.model.snapshot()?,
            best: best.as_ref().map(|best| best.model.clone()),
            moments: moments
                .map(|(&id, tensor)| Ok((id, tensor.copy()?)))
                .collect::<Result<_>>()?,
            gene_sums: self.gene_sums.values.copy()?,
            history: self.history.clone(),
        })
    }

    /// Puts the parts in place of those of this state, which belongs to the same counts and settings.
    ///
    /// # Errors
    /// [`Error::Model`] when the parts do not fit.
    pub fn put(&mut self, parts: StateParts) -> Result<()> {
        let misfit = |what: &str| Error::Model(format!("the checkpoint's {what} do not fit"));
        let device = self.model.backend().device().clone();
        self.model.restore(&parts.model)?;
        let standing = parts.standing;
        let g = &mut self.generators;
        let n_streams = 4 + g.adjustment.len();
        if standing.positions.len() != n_streams || standing.n_cells.len() != g.adjustment.len() {
            return Err(misfit("random streams"));
        }
        let positions: Vec<u128> = standing.positions.iter().map(|&p| p.into()).collect();
        self.sampler.go_to([positions[0], positions[1]]);
        let others = [&mut g.noise, &mut g.dropout]
            .into_iter()
            .chain(&mut g.adjustment);
        for (rng, &position) in others.zip(&positions[2..]) {
            rng.set_word_pos(position);
        }
        if parts.gene_sums.dims() != self.gene_sums.values.dims() {
            return Err(misfit("sums of the genes"));
        }
        self.gene_sums.values = parts.gene_sums.to_device(&device)?;
        self.gene_sums.n_cells = standing.n_cells;
        self.optimiser.steps = standing.steps;
        self.optimiser.moments.clear();
        for (id, parameter) in self.model.parameters() {
            let Some(moments) = parts.moments.get(&id) else {
                continue;
            };
            if moments.dims() != [&[2], parameter.dims()].concat() {
                return Err(misfit("moments"));
            }
            self.optimiser
                .moments
                .insert(id, moments.to_device(&device)?);
        }
        self.early_stopping.checks_without_progress = standing.checks_without_progress;
        self.early_stopping.best = match (standing.best, parts.best) {
            (Some((loss, epoch)), Some(model)) => {
                Some(super::early_stopping::Best { loss, epoch, model })
            }
            (None, None) => None,
            _ => return Err(misfit("best models")),
        };
        self.history = parts.history;
        Ok(())
    }
}
