//! The numbers of a tensor, borrowed where they lie.

use std::ops::{Deref, Range};
use std::sync::RwLockReadGuard;

use candle_core::{bail, Result as CandleResult, Storage, Tensor};

/// Single precision values of a tensor on the CPU, or of a slice.
pub(crate) enum CpuValues<'a> {
    /// Values that belong to no tensor.
    Slice(&'a [f32]),
    /// Values of a contiguous tensor.
    Borrowed(RwLockReadGuard<'a, Storage>, Range<usize>),
    /// Values of a tensor in another order.
    Copied(Vec<f32>),
}

impl<'a> CpuValues<'a> {
    /// # Errors
    /// When the tensor is not on the CPU or not of single precision.
    pub(crate) fn of(tensor: &'a Tensor) -> CandleResult<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(values) = &*storage else {
            bail!("the sparsely connected layers have no kernel for this device");
        };
        values.as_slice::<f32>()?;
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(CpuValues::Borrowed(storage, start..end)),
            None => {
                drop(storage);
                Ok(CpuValues::Copied(tensor.flatten_all()?.to_vec1()?))
            }
        }
    }
}

impl Deref for CpuValues<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            CpuValues::Slice(values) => values,
            CpuValues::Borrowed(storage, span) => match &**storage {
                Storage::Cpu(values) => values.as_slice().map_or(&[], |v| &v[span.clone()]),
                _ => &[],
            },
            CpuValues::Copied(values) => values,
        }
    }
}
