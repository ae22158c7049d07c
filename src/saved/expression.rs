//! The expression space of a model in its file.

use super::container::{damaged, Container};
use super::parts::{put_tensor, tensor};
use crate::results::ExpressionSpace;
use crate::Result;

const BIAS: &str = "expression.bias";
const CENTER: &str = "expression.center";
const ROTATION: &str = "expression.rotation";
const N_MASKS: &str = "expression.n_masks";
const SD: &str = "expression.sd";
const TOTAL_VARIANCE: &str = "expression.total_variance";

pub(super) fn put(to: &mut Container, space: &ExpressionSpace) -> Result<()> {
    put_tensor(to, BIAS.into(), &space.bias)?;
    put_tensor(to, CENTER.into(), &space.center)?;
    put_tensor(to, ROTATION.into(), &space.rotation)?;
    to.put(N_MASKS.into(), &[1], &[space.n_masks as u32]);
    to.put(SD.into(), &[space.sd.len()], &space.sd);
    to.put(TOTAL_VARIANCE.into(), &[1], &[space.total_variance]);
    Ok(())
}

/// `None` if the file has none. `n_masks` is the model's.
pub(super) fn read(
    from: &Container,
    n_genes: usize,
    n_masks: usize,
) -> Result<Option<ExpressionSpace>> {
    if !from.arrays.contains_key(ROTATION) {
        return Ok(None);
    }
    let unfit = || damaged("its expression space does not fit it");
    let sd = from.array(SD)?.numbers::<f64>()?;
    let part = |name: &str, shape: &[usize]| {
        let array = from.array(name)?;
        match array.shape == shape {
            true => tensor(array),
            false => Err(unfit()),
        }
    };
    let masks = from.array(N_MASKS)?.numbers::<u32>()?;
    let variance = from.array(TOTAL_VARIANCE)?.numbers::<f64>()?;
    let (&[masks], &[total_variance]) = (&masks[..], &variance[..]) else {
        return Err(unfit());
    };
    if sd.is_empty() || masks == 0 || masks as usize > n_masks {
        return Err(unfit());
    }
    Ok(Some(ExpressionSpace {
        bias: part(BIAS, &[n_genes])?,
        center: part(CENTER, &[n_genes, 1])?,
        rotation: part(ROTATION, &[sd.len(), n_genes])?,
        n_masks: masks as usize,
        sd,
        total_variance,
    }))
}
