//! A step of Adam, in one launch for many parameters.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{bail, Result as CandleResult};

use super::arguments::{Adam, Address, Update, MOST_UPDATES};
use super::card::{address, Card, Grid};
use crate::backend::{AdamRule, AdamUpdate};

/// As in `adam.cu`.
const VALUES_OF_BLOCK: usize = 1024;

/// Moves the parameters.
pub(super) fn step(card: &Card, updates: &[AdamUpdate], rule: AdamRule) -> CandleResult<()> {
    for some in updates.chunks(MOST_UPDATES) {
        step_of_some(card, some, rule)?;
    }
    Ok(())
}

fn step_of_some(card: &Card, updates: &[AdamUpdate], rule: AdamRule) -> CandleResult<()> {
    let mut arguments = Adam {
        n_updates: updates.len() as i32,
        beta_1: rule.betas[0],
        beta_2: rule.betas[1],
        step: rule.step,
        root_correction: rule.root_correction,
        eps: rule.eps,
        ..Adam::default()
    };
    // All rows' numbers travel together.
    let rows = updates.iter().flat_map(|of| of.rows.into_iter().flatten());
    let rows: Vec<u32> = rows.map(|&row| row as u32).collect();
    let rows: Option<CudaSlice<u32>> = match &rows[..] {
        [] => None,
        rows => Some(card.copy(rows)?),
    };
    let mut next_row = rows.as_ref().map_or(Address::default(), address);
    let (mut lent, mut n_blocks) = (Vec::new(), 0);
    for (update, place) in updates.iter().zip(&mut arguments.updates) {
        let n = update.parameter.elem_count();
        let of_row = match update.rows {
            None => n,
            Some(_) => update.parameter.dims2()?.1,
        };
        let n_rows = update.rows.map_or(1, <[usize]>::len);
        let in_range = |rows: &[usize]| rows.iter().all(|row| (row + 1) * of_row <= n);
        let (parameter, moments) = (update.parameter, update.moments);
        let in_place = parameter.is_contiguous() && moments.is_contiguous();
        if !in_place || !update.rows.is_none_or(in_range) {
            bail!("adam: the rows of a contiguous parameter are needed");
        }
        let parameter = card.lend::<f32>(parameter)?;
        let moments = card.lend_exactly(moments, 2 * n)?;
        let gradient = card.lend_exactly(update.gradient, n_rows * of_row)?;
        *place = Update {
            parameter: parameter.at,
            gradient: gradient.at,
            moments: moments.at,
            rows: match update.rows {
                Some(_) => next_row,
                None => Address::default(),
            },
            n_parameter: n as u64,
            n: (n_rows * of_row) as i32,
            of_row: of_row as i32,
            first_block: n_blocks as i32,
            weight_decay: update.weight_decay,
        };
        n_blocks += (n_rows * of_row).div_ceil(VALUES_OF_BLOCK);
        next_row.0 += (update.rows.map_or(0, <[usize]>::len) * size_of::<u32>()) as u64;
        lent.push([parameter, moments, gradient]);
    }
    card.launch("adam", Grid::new((n_blocks, 1), 256), &arguments)
}
