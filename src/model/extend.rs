//! A model that learns further batches later: all it knows stays as it is.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor};

use super::vae::{CENTRE, SCALE_OFFSETS};
use super::{Design, Start, Vae};
use crate::layers::{wire, ConnectionMask};
use crate::{Error, Result};

impl Vae {
    /// This model with `n_new` further batches: new sub-modules as the known ones are on average,
    /// and no offsets. A model without batches becomes the first batch of the new one.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model with several covariates.
    pub fn with_new_batches(&self, n_new: usize) -> Result<Vae> {
        if self.design.n_levels().len() > 1 {
            return Err(Error::Argument(
                "batches can be added to a model with one covariate only".into(),
            ));
        }
        let old = self.n_batches();
        let design = Design::single(old + n_new);
        let start = Start::flat(self.n_genes(), &design);
        let device = self.encoder.bias.device();
        let mut model = Vae::new(&self.settings, &design, &start, device)?;
        let mut tensors: HashMap<String, Tensor> = model.tensors()?.into_iter().collect();
        let known: HashMap<String, Tensor> = self.tensors()?.into_iter().collect();
        let n_known = self.design.n_levels().first().copied().unwrap_or(0);
        for (name, tensor) in &mut tensors {
            // New modules start from what the known ones have in common. If there are none, they are left as they were
            // drawn: from nothing they would learn nothing, as the slope of their shrinkage is nothing there.
            if let Some((module, level, part)) = of_module(name) {
                if n_known == 0 && level != "0" {
                    continue;
                }
                let mut mean = tensor.zeros_like()?;
                for level in 0..n_known {
                    mean = (mean + &known[&format!("{module}.{level}.{part}")])?;
                }
                *tensor = (mean / n_known.max(1) as f64)?;
            }
        }
        for (name, known) in known {
            if let Some(tensor) = tensors.get_mut(&name) {
                *tensor = continued(&name, &known, tensor)?;
            }
        }
        let mut masks = self.masks();
        if masks.len() > 1 {
            let shared = consensus(&masks);
            masks.resize(design.n_batches(), shared);
        }
        model.restore(Arc::new(wire(&masks)), &tensors)?;
        Ok(model)
    }
}

/// The old values; where the new batches ask for more columns, those of the fresh tensor.
fn continued(name: &str, known: &Tensor, fresh: &Tensor) -> CandleResult<Tensor> {
    if name != CENTRE && !name.starts_with(SCALE_OFFSETS) {
        return Ok(known.clone());
    }
    let (n_old, n_all) = (known.dim(1)?, fresh.dim(1)?);
    Tensor::cat(&[known, &fresh.narrow(1, n_old, n_all - n_old)?], 1)
}

/// Splits the name of a sub-module's parameter into those of the module, of the level and of the parameter.
fn of_module(name: &str) -> Option<(&'static str, &str, &str)> {
    let modules = ["encoder.batch.0", "decoder.batch.0"].into_iter();
    let mut found = modules.filter_map(|module| {
        let rest = name.strip_prefix(module)?.strip_prefix('.')?;
        let (level, part) = rest.split_once('.')?;
        Some((module, level, part))
    });
    found.next()
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
