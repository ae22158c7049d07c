//! A model that learns further batches later: all it knows stays as it is.

use candle_core::{Result as CandleResult, Tensor};

use crate::backend::Backend;
use crate::batches::{Design, InitialValues};
use crate::layers::{wire, ConnectionMask};
use crate::model::{BatchMasks, Level, Snapshot, TensorId, Vae};
use crate::{Error, Result};

/// The model with `n_new` further batches: new sub-modules as the known ones are on average, and no offsets. A model
/// without batches becomes the first batch of the new one.
///
/// # Errors
/// [`Error::Argument`] for a model with several covariates.
pub fn with_new_batches<B: Backend>(model: &Vae<B>, n_new: usize) -> Result<Vae<B>> {
    if model.design.n_levels().len() > 1 {
        return Err(Error::Argument(
            "batches can be added to a model with one covariate only".into(),
        ));
    }
    let design = Design::single(model.n_batches() + n_new);
    let mut masks = model.masks();
    if masks.len() > 1 {
        let shared = consensus(&masks);
        masks.resize(design.n_batches(), shared);
    }
    let initial = InitialValues::flat(model.n_genes(), &design);
    let mut settings = model.settings.clone();
    if masks.len() == 1 {
        // The one of a model without batches, if they were to be separate.
        settings.batch_masks = BatchMasks::Shared;
    }
    let wiring = wire(&masks);
    let mut extended = Vae::with_wiring(&settings, &design, &initial, wiring, model.backend())?;
    let known = model.snapshot()?;
    let n_known = model.design.n_levels().first().copied().unwrap_or(0);
    let mut tensors = extended.snapshot()?.tensors;
    for (&id, tensor) in &mut tensors {
        *tensor = match id {
            TensorId::EncoderBatch(level, part) => {
                module(&known, tensor, level, n_known, |level| {
                    TensorId::EncoderBatch(level, part)
                })?
            }
            TensorId::DecoderBatch(level, part) => {
                module(&known, tensor, level, n_known, |level| {
                    TensorId::DecoderBatch(level, part)
                })?
            }
            TensorId::InputShift | TensorId::ScaleOffsets(_) => {
                with_known_rows(known.tensors.get(&id), tensor)?
            }
            _ => known.tensors[&id].clone(),
        };
    }
    let snapshot = Snapshot {
        wiring: extended.wiring().clone(),
        tensors,
    };
    extended.restore(&snapshot)?;
    Ok(extended)
}

/// A sub-module's tensor. New modules start from what the known ones have in common; if there are none, that of the model
/// itself has no effect, and the new ones are left as they were drawn: from nothing they would learn nothing, as the
/// slope of their shrinkage is nothing there.
fn module(
    known: &Snapshot,
    fresh: &Tensor,
    level: Level,
    n_known: usize,
    id: impl Fn(Level) -> TensorId,
) -> CandleResult<Tensor> {
    if let Some(tensor) = known.tensors.get(&id(level)) {
        return Ok(tensor.clone());
    }
    if n_known == 0 {
        return match level.level {
            0 => fresh.zeros_like(),
            _ => Ok(fresh.clone()),
        };
    }
    let mut mean = fresh.zeros_like()?;
    for of_known in 0..n_known {
        let of_known = Level {
            level: of_known,
            ..level
        };
        mean = (mean + &known.tensors[&id(of_known)])?;
    }
    mean / n_known as f64
}

/// The old rows; where the new batches ask for more, those of the fresh tensor.
fn with_known_rows(known: Option<&Tensor>, fresh: &Tensor) -> CandleResult<Tensor> {
    let Some(known) = known else {
        return Ok(fresh.clone());
    };
    let (n_old, n_all) = (known.dim(0)?, fresh.dim(0)?);
    Tensor::cat(&[known, &fresh.narrow(0, n_old, n_all - n_old)?], 0)
}

/// For each gene the connections that most masks have, as many as they have on average.
fn consensus(masks: &[ConnectionMask]) -> ConnectionMask {
    let (n_genes, n_hidden) = (masks[0].n_genes(), masks[0].n_hidden());
    let mut consensus = ConnectionMask::empty(n_genes, n_hidden);
    for gene in 0..n_genes {
        let mut votes = vec![0; n_hidden];
        for mask in masks {
            for unit in mask.units(gene) {
                votes[unit] += 1;
            }
        }
        let n = votes.iter().sum::<usize>() as f64 / masks.len() as f64;
        let mut units: Vec<usize> = (0..n_hidden).collect();
        units.sort_by_key(|&unit| std::cmp::Reverse(votes[unit]));
        for &unit in &units[..n.round() as usize] {
            consensus.connect(gene, unit);
        }
    }
    consensus
}
