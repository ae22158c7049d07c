//! Trainings that are not finished: all that is needed to go on, bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::container::{damaged, unwritable, Container};
use super::files;
use super::model_file::Covariate;
use super::parts::{self, check_size, put_connections, put_history, put_snapshot, put_tensor};
use super::same_settings::check_same_settings;
use super::upgrade::with_first_criterion;
use crate::backend::Backend;
use crate::batches::Design;
use crate::counts::CountsView;
use crate::model::{BatchMasks, History, Settings, Snapshot, Stopped, TensorId};
use crate::training::{Standing, StateParts, TrainState};
use crate::{Error, Result};

/// Version of the form. In the first there was one criterion, the mean squared error, whose sums were masks x genes under
/// another name.
const FORMAT: u32 = 2;
const FILE: &str = "checkpoint.safetensors";

/// What tells the counts of a training, and their batches, from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    n_cells: usize,
    n_genes: usize,
    counts: u32,
    batches: u32,
    gene_names: u32,
}

impl Fingerprint {
    /// Of a view's counts, its cells' batches and its genes' names.
    pub fn of(view: &CountsView, batch: &[usize], gene_names: &[String]) -> Self {
        let mut counts = crc32fast::Hasher::new();
        for cell in 0..view.n_cells() {
            let mut n = 0u32;
            view.for_each_in_cell(cell, |gene, count| {
                counts.update(&gene.to_le_bytes());
                counts.update(&count.to_le_bytes());
                n += 1;
            });
            counts.update(&n.to_le_bytes());
        }
        let mut batches = crc32fast::Hasher::new();
        for &b in batch {
            batches.update(&(b as u64).to_le_bytes());
        }
        let mut names = crc32fast::Hasher::new();
        for name in gene_names {
            names.update(name.as_bytes());
            names.update(&[0]);
        }
        Fingerprint {
            n_cells: view.n_cells(),
            n_genes: view.n_genes(),
            counts: counts.finalize(),
            batches: batches.finalize(),
            gene_names: names.finalize(),
        }
    }

    /// Compares it with that of other counts.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what differs.
    pub fn check(&self, other: &Fingerprint) -> Result<()> {
        let what = if (self.n_cells, self.n_genes) != (other.n_cells, other.n_genes) {
            format!(
                "it was made with {} cells and {} genes after the filter, these are {} and {}",
                self.n_cells, self.n_genes, other.n_cells, other.n_genes
            )
        } else if self.gene_names != other.gene_names {
            "its genes have other names, or another order".into()
        } else if self.counts != other.counts {
            "its counts are others, or in another order".into()
        } else if self.batches != other.batches {
            "its cells have other batches".into()
        } else {
            return Ok(());
        };
        Err(Error::Argument(format!(
            "The checkpoint does not belong to these counts: {what}.\nGive the counts that it was made with, their genes \
             and cells in the same order, or another checkpoint folder."
        )))
    }
}

/// A training between two epochs, with what it was started with.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The training's settings.
    pub settings: Settings,
    /// The batches' covariates.
    pub design: Design,
    /// Names of the batches; empty when there are none.
    pub batch_names: Vec<String>,
    /// Columns of the cells' annotation that the batches came from, if they did.
    pub batch_columns: Vec<String>,
    /// Names of the covariates and their levels.
    pub covariates: Vec<Covariate>,
    /// Tells the counts from others.
    pub fingerprint: Fingerprint,
}

#[derive(Serialize, Deserialize)]
struct Header {
    checkpoint: u32,
    version: String,
    settings: Settings,
    design: Design,
    batch_names: Vec<String>,
    batch_columns: Vec<String>,
    covariates: Vec<Covariate>,
    fingerprint: Fingerprint,
    standing: Standing,
    best_epoch: Option<usize>,
}

const BEST: &str = "best.";
const GENE_SUMS: &str = "gene_sums";
const GENE_SUMS_OF_1: &str = "squared_error";

fn moments_name(id: TensorId) -> String {
    format!("moments.{id}")
}

impl Checkpoint {
    /// Where it lies in a folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Writes a training, as it stands, into a folder; at any moment the file there is whole.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write<B: Backend>(&self, folder: &Path, state: &TrainState<B>) -> Result<()> {
        files::write_whole(&Self::path(folder), &self.to_bytes(state)?)
    }

    /// Reads what [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] when there is none, and as [`Checkpoint::from_bytes`].
    pub fn read(folder: &Path) -> Result<(Self, Resume)> {
        let path = Self::path(folder);
        let bytes = files::read(&path)?.ok_or_else(|| {
            Error::File(format!(
                "There is no checkpoint '{}'.\nName the folder that was given to fitSCVAE(checkpoint =). A fit that was \
                 stopped before it began to train has none: start it again.",
                path.display()
            ))
        })?;
        Self::from_bytes(&bytes).map_err(|e| match e {
            Error::Model(message) => Error::Model(format!(
                "The checkpoint '{}' cannot be used: {message}",
                path.display()
            )),
            other => other,
        })
    }

    /// Whether a training that is about to go on is this one's.
    ///
    /// # Errors
    /// [`Error::Argument`] saying what differs.
    pub fn check(&self, other: &Checkpoint) -> Result<()> {
        if (&self.batch_names, &self.design) != (&other.batch_names, &other.design) {
            return Err(Error::Argument(format!(
                "The checkpoint was made with the batches {:?}, these are {:?}.\nGive those of the fit.",
                self.batch_names, other.batch_names
            )));
        }
        check_same_settings(&self.settings, &other.settings)?;
        self.fingerprint.check(&other.fingerprint)
    }

    /// The file's bytes, of a training as it stands.
    ///
    /// # Errors
    /// [`Error::Model`] when the form cannot be written.
    pub fn to_bytes<B: Backend>(&self, state: &TrainState<B>) -> Result<Vec<u8>> {
        let parts = state.parts()?;
        let header = Header {
            checkpoint: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            settings: self.settings.clone(),
            design: self.design.clone(),
            batch_names: self.batch_names.clone(),
            batch_columns: self.batch_columns.clone(),
            covariates: self.covariates.clone(),
            fingerprint: self.fingerprint.clone(),
            standing: parts.standing,
            best_epoch: parts.history.best_epoch,
        };
        let mut container = Container {
            header: serde_json::to_string(&header).map_err(unwritable)?,
            arrays: BTreeMap::new(),
        };
        put_snapshot(&mut container, "", &parts.model)?;
        if let Some(best) = &parts.best {
            put_snapshot(&mut container, BEST, best)?;
        }
        for (&id, moments) in &parts.moments {
            put_tensor(&mut container, moments_name(id), moments)?;
        }
        let sums = parts.gene_sums.flatten_all()?.to_vec1::<f64>()?;
        container.put(GENE_SUMS.into(), parts.gene_sums.dims(), &sums);
        put_history(&mut container, &parts.history.epochs);
        put_connections(&mut container, &parts.history.connections);
        container.to_bytes()
    }

    /// Reads a file's bytes; the second value reads the training into a state, see [`Resume::put`].
    ///
    /// # Errors
    /// [`Error::Model`] when they are damaged, not of this kind, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, Resume)> {
        let mut container = Container::from_bytes(bytes)?;
        let mut value: Value = serde_json::from_str(&container.header).map_err(damaged)?;
        let format = value.get("checkpoint").and_then(Value::as_u64);
        match (format, value.as_object_mut()) {
            (Some(1), Some(fields)) => from_1(fields, &mut container)?,
            (Some(format), _) if format == u64::from(FORMAT) => {}
            _ => {
                let what = format.map_or("this is no checkpoint".into(), |format| {
                    format!("the checkpoint has format {format}, this version reads 1 to {FORMAT}")
                });
                return Err(Error::Model(format!("{what}: start the training again")));
            }
        }
        let header: Header = serde_json::from_value(value).map_err(damaged)?;
        header.settings.check().map_err(damaged)?;
        let checkpoint = Checkpoint {
            design: header.design.checked().map_err(damaged)?,
            settings: header.settings,
            batch_names: header.batch_names,
            batch_columns: header.batch_columns,
            covariates: header.covariates,
            fingerprint: header.fingerprint,
        };
        let (settings, design) = (&checkpoint.settings, &checkpoint.design);
        let n_genes = checkpoint.fingerprint.n_genes;
        check_size(&container, "", settings, design, n_genes)?;
        let resume = Resume {
            container,
            standing: header.standing,
            best_epoch: header.best_epoch,
        };
        Ok((checkpoint, resume))
    }
}

fn from_1(fields: &mut Map<String, Value>, container: &mut Container) -> Result<()> {
    with_first_criterion(fields);
    let mut sums = container.array(GENE_SUMS_OF_1)?.clone();
    sums.shape.insert(1, 1);
    container.arrays.insert(GENE_SUMS.into(), sums);
    Ok(())
}

/// The training of a checkpoint.
#[derive(Debug)]
pub struct Resume {
    container: Container,
    standing: Standing,
    best_epoch: Option<usize>,
}

impl Resume {
    /// Epochs that were finished.
    ///
    /// # Errors
    /// [`Error::Model`] when the checkpoint is damaged.
    pub fn n_epochs(&self) -> Result<usize> {
        Ok(parts::history(&self.container)?.len())
    }

    /// Puts the training into a state of the same settings and counts.
    ///
    /// # Errors
    /// [`Error::Model`] when it does not fit.
    pub fn put<B: Backend>(self, state: &mut TrainState<B>) -> Result<()> {
        let from = &self.container;
        let like = state.model.snapshot()?;
        let settings = &state.model.settings;
        let n_masks = match settings.batch_masks {
            BatchMasks::Separate => state.model.n_batches(),
            BatchMasks::Shared => 1,
        };
        let read = |prefix: &str| -> Result<Snapshot> {
            let (n_genes, n_hidden) = (state.model.n_genes(), settings.n_hidden);
            let wiring = parts::wiring(from, prefix, n_masks, n_genes, n_hidden)?;
            parts::snapshot(from, prefix, Arc::new(wiring), &like)
        };
        let mut moments = BTreeMap::new();
        for (id, _) in state.model.parameters() {
            if let Some(array) = from.arrays.get(&moments_name(id)) {
                moments.insert(id, parts::tensor(array)?);
            }
        }
        let sums = from.array(GENE_SUMS)?;
        let sums = candle_core::Tensor::from_vec(
            sums.numbers::<f64>()?,
            sums.shape.clone(),
            &candle_core::Device::Cpu,
        )?;
        let parts = StateParts {
            model: read("")?,
            best: match self.standing.best {
                Some(_) => Some(read(BEST)?),
                None => None,
            },
            moments,
            gene_sums: sums,
            history: History {
                epochs: parts::history(from)?,
                stopped: Stopped::default(),
                best_epoch: self.best_epoch,
                connections: parts::epochs_connections(from, state.model.n_genes())?,
            },
            standing: self.standing,
        };
        state.put(parts)
    }
}
