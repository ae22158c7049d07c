//! The sparsely connected layers as operations of the tensor library (paper, section 2.2).

use candle_core::{Result as CandleResult, Tensor};

use crate::backend::{known_result, Backend};

/// First layer: `input (M * W) + bias` of a mini-batch's sparse input, cells x hidden units.
///
/// `weights` holds one value per slot of the wiring, `bias` one per hidden unit.
///
/// # Errors
/// When shapes do not fit.
pub fn sparse_encode<B: Backend>(
    backend: &B,
    minibatch: &B::MiniBatch,
    wiring: &B::Wiring,
    weights: &Tensor,
    bias: &Tensor,
) -> CandleResult<Tensor> {
    let out = backend.encode(minibatch, wiring, weights, bias)?;
    let (backend, minibatch, wiring) = (backend.clone(), minibatch.clone(), wiring.clone());
    known_result(&[weights, bias], out, move |d_out| {
        let d_weights = backend.encode_backward(&minibatch, &wiring, d_out)?;
        Ok(vec![d_weights, d_out.sum(0)?])
    })
}

/// First layer, for values that all cells of a batch share: `shift (M * W)`, batches x hidden units.
///
/// `shift` is batches x genes, and `batches` names its rows; `weights` holds one value per slot of the wiring.
///
/// # Errors
/// When shapes do not fit.
pub fn sparse_shift<B: Backend>(
    backend: &B,
    shift: &Tensor,
    batches: &[usize],
    wiring: &B::Wiring,
    weights: &Tensor,
) -> CandleResult<Tensor> {
    let out = backend.shift(shift, batches, wiring, weights)?;
    let (backend, shift, batches) = (backend.clone(), shift.clone(), batches.to_vec());
    let wiring = wiring.clone();
    known_result(&[weights], out, move |d_out| {
        let d_weights = backend.shift_backward(&shift, &batches, &wiring, d_out)?;
        Ok(vec![d_weights])
    })
}
