//! The sparsely connected layers on candle's tensors (paper, section 2.2).

use std::sync::Arc;

use candle_core::{
    bail, CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor,
    WithDType,
};

use crate::kernels::{Cpu, Kernels, Segment, Wiring};
use crate::sampling::MiniBatch;
use crate::values::CpuValues;

/// First layer: `input (M * W) + bias` of a mini-batch's sparse input, cells x hidden units.
///
/// `weights` holds one value per slot of the wiring, `bias` one per hidden unit.
///
/// # Errors
/// When shapes do not fit, or the device has no kernel.
pub fn sparse_encode(
    minibatch: &MiniBatch,
    wiring: &Arc<Wiring>,
    weights: &Tensor,
    bias: &Tensor,
) -> CandleResult<Tensor> {
    weights.apply_op2(
        bias,
        SparseEncode {
            minibatch: minibatch.clone(),
            wiring: wiring.clone(),
        },
    )
}

/// First layer, for values that all cells of a batch share: `offsets (M * W)`, rows x hidden units.
///
/// `offsets` is rows x genes, of the batches `batch_of_row`; `weights` has one value per slot of the wiring.
///
/// # Errors
/// When shapes do not fit, or the device has no kernel.
pub fn sparse_centre(
    offsets: &Tensor,
    batch_of_row: &[usize],
    wiring: &Arc<Wiring>,
    weights: &Tensor,
) -> CandleResult<Tensor> {
    let expected = (batch_of_row.len(), wiring.n_genes());
    if offsets.dims2()? != expected {
        bail!(
            "offsets of shape {:?} are given where {expected:?} is needed",
            offsets.dims()
        );
    }
    weights.apply_op1(SparseCentre {
        offsets: offsets.clone(),
        batch_of_row: batch_of_row.to_vec(),
        wiring: wiring.clone(),
    })
}

/// Last layer: genes x cells of `hidden`, cells x hidden units. Without back-propagation: training goes through
/// [`crate::likelihood::decode_loss`].
///
/// `segments` are the cells of each batch; `weights` holds one value per slot of the wiring, `bias` one per gene, or is
/// segments x genes.
///
/// # Errors
/// When shapes do not fit, or the device has no kernel.
pub fn sparse_decode(
    hidden: &Tensor,
    segments: &[Segment],
    wiring: &Wiring,
    weights: &Tensor,
    bias: &Tensor,
) -> CandleResult<Tensor> {
    let (n_cells, n_hidden) = hidden.dims2()?;
    let fits = n_hidden == wiring.n_hidden
        && segments.last().map_or(0, |s| s.rows.end) == n_cells
        && weights.elem_count() == wiring.n_slots()
        && [1, segments.len()]
            .map(|n| n * wiring.n_genes())
            .contains(&bias.elem_count());
    if !fits {
        bail!("{n_cells} cells x {n_hidden} hidden units do not fit the wiring");
    }
    let out = Cpu.decode(
        &CpuValues::of(hidden)?,
        segments,
        wiring,
        &CpuValues::of(weights)?,
        &CpuValues::of(bias)?,
    );
    Tensor::from_vec(out, (wiring.n_genes(), n_cells), hidden.device())
}

struct SparseEncode {
    minibatch: MiniBatch,
    wiring: Arc<Wiring>,
}

impl CustomOp2 for SparseEncode {
    fn name(&self) -> &'static str {
        "sparse-encode"
    }

    fn cpu_fwd(
        &self,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let weights = values(weights, weights_layout, self.wiring.n_slots())?;
        let bias = values(bias, bias_layout, self.wiring.n_hidden)?;
        let m = &self.minibatch;
        let out = Cpu.encode_forward(
            &m.counts,
            &m.input,
            &m.segments,
            &self.wiring,
            weights,
            bias,
        );
        let shape = (m.n_cells(), self.wiring.n_hidden).into();
        Ok((f32::to_cpu_storage_owned(out), shape))
    }

    fn bwd(
        &self,
        _weights: &Tensor,
        _bias: &Tensor,
        _out: &Tensor,
        d_out: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let m = &self.minibatch;
        let d_bias = d_out.sum(0)?;
        let d_weights = Cpu.encode_backward(
            &m.counts,
            &m.input,
            &m.segments,
            &self.wiring,
            &CpuValues::of(d_out)?,
        );
        let n = d_weights.len();
        Ok((
            Some(Tensor::from_vec(d_weights, n, d_out.device())?),
            Some(d_bias),
        ))
    }
}

struct SparseCentre {
    offsets: Tensor,
    batch_of_row: Vec<usize>,
    wiring: Arc<Wiring>,
}

impl CustomOp1 for SparseCentre {
    fn name(&self) -> &'static str {
        "sparse-centre"
    }

    fn cpu_fwd(&self, weights: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let weights = values(weights, layout, self.wiring.n_slots())?;
        let offsets = CpuValues::of(&self.offsets)?;
        let out = Cpu.input_shift_forward(&offsets, &self.batch_of_row, &self.wiring, weights);
        let shape = (self.batch_of_row.len(), self.wiring.n_hidden).into();
        Ok((f32::to_cpu_storage_owned(out), shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, d_out: &Tensor) -> CandleResult<Option<Tensor>> {
        let offsets = CpuValues::of(&self.offsets)?;
        let d_weights = Cpu.input_shift_backward(
            &offsets,
            &self.batch_of_row,
            &self.wiring,
            &CpuValues::of(d_out)?,
        );
        let n = d_weights.len();
        Ok(Some(Tensor::from_vec(d_weights, n, d_out.device())?))
    }
}

/// The values of a contiguous CPU tensor of `expected` elements.
fn values<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
    expected: usize,
) -> CandleResult<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed");
    };
    let all = storage.as_slice::<f32>()?;
    if end - start != expected {
        bail!("{expected} values are needed, {} are there", end - start);
    }
    Ok(&all[start..end])
}
