//! The sparsely connected layers as candle operations with their own backward pass (paper, section 2.2).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{
    bail, CpuStorage, CustomOp2, CustomOp3, Layout, Result as CandleResult, Shape, Tensor,
    WithDType,
};

use crate::kernels::{Cpu, Kernels, Wiring};
use crate::sampling::MiniBatch;

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

/// Last layer: genes x cells of `hidden`, cells x hidden units.
///
/// `segments` are the cells of each batch; `weights` holds one value per slot of the wiring, `bias` one per gene.
///
/// # Errors
/// When shapes do not fit, or the device has no kernel.
pub fn sparse_decode(
    hidden: &Tensor,
    segments: &Arc<Vec<Range<usize>>>,
    wiring: &Arc<Wiring>,
    weights: &Tensor,
    bias: &Tensor,
) -> CandleResult<Tensor> {
    hidden.t()?.contiguous()?.apply_op3(
        weights,
        bias,
        SparseDecode {
            segments: segments.clone(),
            wiring: wiring.clone(),
        },
    )
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
        let out = Cpu.encode_forward(&m.input, &m.segments, &self.wiring, weights, bias);
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
        let d_weights = with_cpu_values(d_out, |d_out| {
            Cpu.encode_backward(
                &m.counts,
                &m.input_by_gene,
                &m.segments,
                &self.wiring,
                d_out,
            )
        })?;
        let n = d_weights.len();
        Ok((
            Some(Tensor::from_vec(d_weights, n, d_out.device())?),
            Some(d_bias),
        ))
    }
}

struct SparseDecode {
    segments: Arc<Vec<Range<usize>>>,
    wiring: Arc<Wiring>,
}

impl CustomOp3 for SparseDecode {
    fn name(&self) -> &'static str {
        "sparse-decode"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (n_hidden, n_cells) = hidden_layout.shape().dims2()?;
        let hidden = values(hidden, hidden_layout, self.wiring.n_hidden * n_cells)?;
        let weights = values(weights, weights_layout, self.wiring.n_slots())?;
        let bias = values(bias, bias_layout, self.wiring.n_genes())?;
        if n_hidden != self.wiring.n_hidden || self.segments.last().map_or(0, |s| s.end) != n_cells
        {
            bail!("sparse-decode: {n_hidden} hidden units x {n_cells} cells do not fit the wiring");
        }
        let out = Cpu.decode_forward(hidden, &self.segments, &self.wiring, weights, bias);
        let shape = (self.wiring.n_genes(), n_cells).into();
        Ok((f32::to_cpu_storage_owned(out), shape))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weights: &Tensor,
        _bias: &Tensor,
        _out: &Tensor,
        d_out: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n_hidden, n_cells) = hidden.dims2()?;
        let gradients = with_cpu_values(d_out, |d_out| {
            with_cpu_values(hidden, |hidden| {
                with_cpu_values(weights, |weights| {
                    Cpu.decode_backward(hidden, &self.segments, &self.wiring, weights, d_out)
                })
            })
        })???;
        let device = hidden.device();
        let n_slots = gradients.weights.len();
        let n_genes = gradients.bias.len();
        Ok((
            Some(Tensor::from_vec(
                gradients.hidden,
                (n_hidden, n_cells),
                device,
            )?),
            Some(Tensor::from_vec(gradients.weights, n_slots, device)?),
            Some(Tensor::from_vec(gradients.bias, n_genes, device)?),
        ))
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

/// Runs `f` on the values of a CPU tensor, made contiguous if it is not.
fn with_cpu_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> CandleResult<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => Ok(f(values(storage, layout, tensor.elem_count())?)),
        _ => bail!("the sparsely connected layers have no kernel for this device"),
    }
}
