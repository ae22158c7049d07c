//! Sets the encoder's sub-module of a new batch so that its cells lie where the model's own cells of their kind do, and
//! spread as much.

use candle_core::{Result as CandleResult, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use super::CellGroups;
use crate::kernels::Segment;
use crate::model::Vae;
use crate::{Result, Stop};

/// Steps at most, each with all cells, and their rate. They end at a loss of `ENOUGH`.
const STEPS: usize = 300;
const RATE: f64 = 0.005;
const ENOUGH: f32 = 1e-3;
/// A group with fewer cells of the batch is left out.
const FEWEST_CELLS: usize = 3;
/// Keeps roots and quotients finite.
const TINY: f64 = 1e-6;

/// Trains the sub-module of `level` on `hidden` (cells x hidden units, what it reads); `group` is each cell's group among
/// those that are remembered. The loss is how far the groups' mean latent values are from the remembered ones', squared, plus
/// the same of the standard deviation within groups, both relative to the remembered cells' variance. The spread is part of it
/// because an encoder knows the noise of the cells it was trained with and lays them further apart than new ones.
///
/// # Errors
/// When shapes do not fit.
pub fn align(
    model: &Vae,
    remembered: &CellGroups,
    hidden: &Tensor,
    group: &[usize],
    level: usize,
    should_stop: Stop,
) -> Result<()> {
    // Without weight a module can set nothing.
    let module = model.encoder.batch_modules.first();
    let Some(module) = module.filter(|module| module.beta != 0.0) else {
        return Ok(());
    };
    let Some(groups) = Groups::of(group, remembered)? else {
        return Ok(());
    };
    let latent = || -> CandleResult<Tensor> {
        let all = Segment {
            batch: level,
            rows: 0..group.len(),
        };
        let x = module.forward(model.backend(), hidden, &[all], |level| level)?;
        model.encoder.mean.forward(model.backend(), &x)
    };
    let sub_module = &module.sub_modules[level];
    let parameters = vec![sub_module.weight.clone(), sub_module.bias.clone()];
    let rates = ParamsAdamW {
        lr: RATE,
        weight_decay: 0.0,
        ..Default::default()
    };
    let mut optimiser = AdamW::new(parameters, rates)?;
    for _ in 0..STEPS {
        if should_stop() {
            break;
        }
        let (means, spread) = groups.moments(&latent()?)?;
        let apart = (means - &groups.known_means)?
            .sqr()?
            .broadcast_mul(&groups.weight)?;
        let narrower = (spread - &groups.known_spread)?.sqr()?;
        let loss = ((apart.sum(0)? + narrower)? / &groups.unit)?.sum_all()?;
        if loss.to_scalar::<f32>()? < ENOUGH {
            break;
        }
        optimiser.backward_step(&loss)?;
    }
    Ok(())
}

/// The groups that a batch has cells of, and what the model's own cells of these groups are like.
struct Groups {
    /// Groups x cells: takes the mean over each group.
    average: Tensor,
    /// Share of the cells, groups x 1.
    weight: Tensor,
    /// Cells over those that are free to differ: of those around their own mean one is not.
    freedom: f64,
    /// Groups x latent dimensions.
    known_means: Tensor,
    /// Standard deviation within groups, per latent dimension.
    known_spread: Tensor,
    /// Variance of the model's own cells, per latent dimension.
    unit: Tensor,
}

impl Groups {
    /// `None` if no group has cells enough.
    fn of(group: &[usize], remembered: &CellGroups) -> CandleResult<Option<Self>> {
        let (n_groups, device) = (remembered.latent.dim(0)?, remembered.latent.device());
        let mut n_of_group = vec![0usize; n_groups];
        group.iter().for_each(|&k| n_of_group[k] += 1);
        let used: Vec<usize> = (0..n_groups)
            .filter(|&k| n_of_group[k] >= FEWEST_CELLS)
            .collect();
        if used.is_empty() {
            return Ok(None);
        }
        let n_cells: usize = used.iter().map(|&k| n_of_group[k]).sum();
        let average: Vec<f32> = used
            .iter()
            .flat_map(|&k| {
                let share = 1.0 / n_of_group[k] as f32;
                group
                    .iter()
                    .map(move |&own| if own == k { share } else { 0.0 })
            })
            .collect();
        let weight = used.iter().map(|&k| n_of_group[k] as f32 / n_cells as f32);
        let weight = Tensor::from_vec(weight.collect::<Vec<_>>(), (used.len(), 1), device)?;
        let rows: Vec<u32> = used.iter().map(|&k| k as u32).collect();
        let rows = Tensor::from_vec(rows, used.len(), device)?;
        let within = remembered.latent_variance.index_select(&rows, 0)?;
        let centre = remembered.latent.mean(0)?;
        let between = remembered.latent.broadcast_sub(&centre)?.sqr()?.mean(0)?;
        Ok(Some(Groups {
            average: Tensor::from_vec(average, (used.len(), group.len()), device)?,
            freedom: n_cells as f64 / (n_cells - used.len()) as f64,
            known_means: remembered.latent.index_select(&rows, 0)?,
            known_spread: within.broadcast_mul(&weight)?.sum(0)?.sqrt()?,
            unit: ((between + remembered.latent_variance.mean(0)?)? + TINY)?,
            weight,
        }))
    }

    /// Means of the groups and the standard deviation within them of cells with latent values `z`.
    fn moments(&self, z: &Tensor) -> CandleResult<(Tensor, Tensor)> {
        let means = self.average.matmul(z)?;
        let variance = (self.average.matmul(&z.sqr()?)? - means.sqr()?)?;
        let variance = (variance.broadcast_mul(&self.weight)?.sum(0)? * self.freedom)?;
        // Rounding may leave a variance just below 0.
        let spread = (variance.relu()? + TINY)?.sqrt()?;
        Ok((means, spread))
    }
}
