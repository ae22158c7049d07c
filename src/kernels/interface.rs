//! The one interface of the hot passes. A device is supported when it implements these; the operations of the tensor
//! library (`layers::sparse_encode`, `layers::sparse_decode`, `likelihood::count_loss`) call nothing else.

use std::ops::Range;

use super::count_loss::{count_loss, CountLossInput, CountLossOutput};
use super::decode::{self, DecodeGradients};
use super::encode;
use super::types::{GeneMajorCounts, SparseRows, Wiring};
use crate::Result;

/// The passes over genes of one device. `segments` are always the cells of each batch, side by side and in order.
pub trait Kernels {
    /// Single precision values on the device, borrowed.
    type Values: ?Sized;
    /// Single precision values on the device, owned.
    type Buffer;
    /// Logits, dispersions, libraries and counts of a mini-batch.
    type LossInput<'a>;
    /// The loss with its gradients.
    type LossOutput;

    /// First layer: `bias + input (M * W)`, cells x hidden units.
    fn encode_forward(
        &self,
        input: &SparseRows,
        segments: &[Range<usize>],
        wiring: &Wiring,
        weights: &Self::Values,
        bias: &Self::Values,
    ) -> Self::Buffer;

    /// Gradient of the first layer's weights; `input` in the order of `counts`, `d_out` cells x hidden units.
    fn encode_backward(
        &self,
        counts: &GeneMajorCounts,
        input: &Self::Values,
        segments: &[Range<usize>],
        wiring: &Wiring,
        d_out: &Self::Values,
    ) -> Self::Buffer;

    /// Last layer: `bias + (M * W) hidden`, genes x cells, of `hidden`, hidden units x cells.
    fn decode_forward(
        &self,
        hidden: &Self::Values,
        segments: &[Range<usize>],
        wiring: &Wiring,
        weights: &Self::Values,
        bias: &Self::Values,
    ) -> Self::Buffer;

    /// Gradients of the last layer, given `d_out`, genes x cells.
    fn decode_backward(
        &self,
        hidden: &Self::Values,
        segments: &[Range<usize>],
        wiring: &Wiring,
        weights: &Self::Values,
        d_out: &Self::Values,
    ) -> DecodeGradients<Self::Buffer>;

    /// The count loss; with `gradients` also its gradients and the squared errors per batch and gene.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the arrays' lengths do not fit together.
    fn count_loss(&self, input: &Self::LossInput<'_>, gradients: bool) -> Result<Self::LossOutput>;
}

/// The processor. Runs on the pool of threads it is called in; the same bits for any number of threads.
#[derive(Debug, Clone, Copy)]
pub struct Cpu;

impl Kernels for Cpu {
    type Values = [f32];
    type Buffer = Vec<f32>;
    type LossInput<'a> = CountLossInput<'a>;
    type LossOutput = CountLossOutput;

    fn encode_forward(
        &self,
        input: &SparseRows,
        segments: &[Range<usize>],
        wiring: &Wiring,
        weights: &[f32],
        bias: &[f32],
    ) -> Vec<f32> {
        encode::forward(input, segments, wiring, weights, bias)
    }

    fn encode_backward(
        &self,
        counts: &GeneMajorCounts,
        input: &[f32],
        segments: &[Range<usize>],
        wiring: &Wiring,
        d_out: &[f32],
    ) -> Vec<f32> {
        encode::backward(counts, input, segments, wiring, d_out)
    }

    fn decode_forward(
        &self,
        hidden: &[f32],
        segments: &[Range<usize>],
        wiring: &Wiring,
        weights: &[f32],
        bias: &[f32],
    ) -> Vec<f32> {
        let n_cells = segments.last().map_or(0, |s| s.end);
        decode::forward(hidden, n_cells, segments, wiring, weights, bias)
    }

    fn decode_backward(
        &self,
        hidden: &[f32],
        segments: &[Range<usize>],
        wiring: &Wiring,
        weights: &[f32],
        d_out: &[f32],
    ) -> DecodeGradients<Vec<f32>> {
        let n_cells = segments.last().map_or(0, |s| s.end);
        decode::backward(hidden, n_cells, segments, wiring, weights, d_out)
    }

    fn count_loss(&self, input: &CountLossInput, gradients: bool) -> Result<CountLossOutput> {
        count_loss(input, gradients)
    }
}
