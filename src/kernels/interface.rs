//! The one interface of the hot passes. A device is supported when it implements these; the operations of the tensor
//! library (`layers::sparse_encode`, `layers::sparse_decode`, `likelihood::decode_loss`) call nothing else.

use pulp::Arch;

use super::decode;
use super::decode_loss::{decode_loss, Workspace};
use super::encode;
use super::input_shift;
use super::loss_types::DecodeLossInput;
use super::types::{GeneMajorCounts, Segment, Wiring};
use crate::Result;

/// The passes over genes of one device. `segments` are always those of the mini-batch: in order, without gaps, none empty.
pub trait Kernels {
    /// Single precision values on the device, borrowed.
    type Values: ?Sized;
    /// Single precision values on the device, owned.
    type Buffer;
    /// Hidden units, parameters and counts of a mini-batch.
    type LossInput<'a>;
    /// Memory kept between mini-batches, and the loss's gradients.
    type Workspace;

    /// First layer: `bias + input (M * W)`, cells x hidden units; `input` in the order of `counts`.
    fn encode_forward(
        &self,
        counts: &GeneMajorCounts,
        input: &Self::Values,
        segments: &[Segment],
        wiring: &Wiring,
        weights: &Self::Values,
        bias: &Self::Values,
    ) -> Self::Buffer;

    /// Gradient of the first layer's weights; `input` in the order of `counts`, `d_out` cells x hidden units.
    fn encode_backward(
        &self,
        counts: &GeneMajorCounts,
        input: &Self::Values,
        segments: &[Segment],
        wiring: &Wiring,
        d_out: &Self::Values,
    ) -> Self::Buffer;

    /// First layer, for what all cells of a batch are reduced by: `offsets (M * W)`, rows x hidden units, of `offsets`,
    /// rows x genes. `batch_of_row` says whose mask a row uses.
    fn input_shift_forward(
        &self,
        offsets: &Self::Values,
        batch_of_row: &[usize],
        wiring: &Wiring,
        weights: &Self::Values,
    ) -> Self::Buffer;

    /// Gradient of the weights of [`Kernels::input_shift_forward`]; `d_out` rows x hidden units.
    fn input_shift_backward(
        &self,
        offsets: &Self::Values,
        batch_of_row: &[usize],
        wiring: &Wiring,
        d_out: &Self::Values,
    ) -> Self::Buffer;

    /// Last layer: `bias + (M * W) hidden`, genes x cells, of `hidden`, cells x hidden units. `bias` has one value per
    /// gene, or is segments x genes.
    fn decode(
        &self,
        hidden: &Self::Values,
        segments: &[Segment],
        wiring: &Wiring,
        weights: &Self::Values,
        bias: &Self::Values,
    ) -> Self::Buffer;

    /// Last layer and count loss in one; with `gradients` the workspace holds its gradients afterwards.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the arrays' lengths do not fit together.
    fn decode_loss(
        &self,
        input: &Self::LossInput<'_>,
        gradients: bool,
        workspace: &mut Self::Workspace,
    ) -> Result<f64>;
}

/// The processor. Runs on the pool of threads it is called in; the same bits for any number of threads.
#[derive(Debug, Clone, Copy)]
pub struct Cpu;

impl Kernels for Cpu {
    type Values = [f32];
    type Buffer = Vec<f32>;
    type LossInput<'a> = DecodeLossInput<'a>;
    type Workspace = Workspace;

    fn encode_forward(
        &self,
        counts: &GeneMajorCounts,
        input: &[f32],
        segments: &[Segment],
        wiring: &Wiring,
        weights: &[f32],
        bias: &[f32],
    ) -> Vec<f32> {
        encode::forward(Arch::new(), counts, input, segments, wiring, weights, bias)
    }

    fn encode_backward(
        &self,
        counts: &GeneMajorCounts,
        input: &[f32],
        segments: &[Segment],
        wiring: &Wiring,
        d_out: &[f32],
    ) -> Vec<f32> {
        encode::backward(Arch::new(), counts, input, segments, wiring, d_out)
    }

    fn input_shift_forward(
        &self,
        offsets: &[f32],
        batch_of_row: &[usize],
        wiring: &Wiring,
        weights: &[f32],
    ) -> Vec<f32> {
        input_shift::forward(offsets, batch_of_row, wiring, weights)
    }

    fn input_shift_backward(
        &self,
        offsets: &[f32],
        batch_of_row: &[usize],
        wiring: &Wiring,
        d_out: &[f32],
    ) -> Vec<f32> {
        input_shift::backward(offsets, batch_of_row, wiring, d_out)
    }

    fn decode(
        &self,
        hidden: &[f32],
        segments: &[Segment],
        wiring: &Wiring,
        weights: &[f32],
        bias: &[f32],
    ) -> Vec<f32> {
        decode::forward(Arch::new(), hidden, segments, wiring, weights, bias)
    }

    fn decode_loss(
        &self,
        input: &DecodeLossInput,
        gradients: bool,
        workspace: &mut Workspace,
    ) -> Result<f64> {
        decode_loss(Arch::new(), input, gradients, workspace)
    }
}
