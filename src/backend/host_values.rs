//! The numbers of a tensor, borrowed where they lie.

use std::ops::{Deref, Range};
use std::sync::RwLockReadGuard;

use candle_core::{bail, Result as CandleResult, Storage, Tensor};

/// Single precision values of a tensor on the CPU.
pub(super) enum HostValues<'a> {
    /// Values of a contiguous tensor.
    Borrowed(RwLockReadGuard<'a, Storage>, Range<usize>),
    /// Values of a tensor in another order.
    Copied(Vec<f32>),
}

impl<'a> HostValues<'a> {
    /// # Errors
    /// When the tensor is not on the CPU or not of single precision.
    pub(super) fn of(tensor: &'a Tensor) -> CandleResult<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(values) = &*storage else {
            bail!("the processor's backend is given a tensor of another device");
        };
        values.as_slice::<f32>()?;
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(HostValues::Borrowed(storage, start..end)),
            None => {
                drop(storage);
                Ok(HostValues::Copied(tensor.flatten_all()?.to_vec1()?))
            }
        }
    }
}

impl Deref for HostValues<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            HostValues::Borrowed(storage, span) => match &**storage {
                Storage::Cpu(values) => values.as_slice().map_or(&[], |v| &v[span.clone()]),
                _ => &[],
            },
            HostValues::Copied(values) => values,
        }
    }
}
