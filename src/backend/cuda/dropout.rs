//! Dropout: the card draws the host's random numbers itself.

use candle_core::{bail, Result as CandleResult, Shape, Tensor};

use super::arguments::Dropout;
use super::card::{Card, Grid};
use crate::sampling::DropoutDraw;

/// Words of a block of the stream, and of a unit's number.
const OF_BLOCK: u128 = 16;
const OF_UNIT: u128 = 2;

/// The factors of a dropout.
pub(super) fn factors(card: &Card, draw: &DropoutDraw, shape: &Shape) -> CandleResult<Tensor> {
    let n = draw.n_units();
    if shape.elem_count() != n {
        bail!("{n} units are drawn for a layer of {shape:?}");
    }
    let stream = draw.stream();
    let first = stream.get_word_pos();
    let mut key = [0; 8];
    for (word, bytes) in key.iter_mut().zip(stream.get_seed().chunks_exact(4)) {
        *word = bytes.iter().rev().fold(0, |w, &b| w << 8 | u32::from(b));
    }
    let out = card.fresh::<f32>(shape.clone())?;
    let skipped = (first % OF_BLOCK / OF_UNIT) as usize;
    let arguments = Dropout {
        key,
        first: (first / OF_BLOCK) as u64,
        stream: stream.get_stream(),
        skipped: skipped as i32,
        n: n as i32,
        rate: draw.rate(),
        kept: draw.kept(),
        out: card.lend::<f32>(&out)?.at,
    };
    let blocks = (skipped + n).div_ceil((OF_BLOCK / OF_UNIT) as usize);
    card.launch("dropout", Grid::over(blocks), &arguments)?;
    Ok(out)
}
