//! One card: its memory, lent to tensors, and its kernels, launched one after the other on one stream.

#![allow(
    unsafe_code,
    reason = "memory is handed to kernels by its address, as the driver wants it"
)]

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    sys, CudaFunction, CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PinnedHostSlice,
    PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{
    bail, CudaDevice, CudaStorage, Device, Result as CandleResult, Shape, Storage, Tensor,
    WithDType,
};

use super::arguments::Address;

macro_rules! ptx {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx"))
    };
}

/// The modules and the kernels in them.
pub(super) const MODULES: [(&str, &[&str]); 13] = [
    (
        ptx!("activate"),
        &["activate", "activate_back", "apply", "apply_back"],
    ),
    (ptx!("adam"), &["adam"]),
    (ptx!("connections"), &["expand", "collect"]),
    (
        ptx!("count_loss"),
        &[
            "score_zinb",
            "score_nb",
            "score_poisson",
            "value_zinb",
            "value_nb",
            "value_poisson",
            "sum_over_genes",
            "through_softmax",
            "finish_genes",
            "finish_loss",
        ],
    ),
    (
        ptx!("dense"),
        &["add_row", "column_sums", "take_off", "take_off_back"],
    ),
    (ptx!("dropout"), &["dropout"]),
    (
        ptx!("encode"),
        &[
            "encode_u16_u8",
            "encode_u16_u16",
            "encode_u16_f32",
            "encode_u32_u8",
            "encode_u32_u16",
            "encode_u32_f32",
            "encode_back",
        ],
    ),
    (
        ptx!("latent"),
        &["draw", "draw_back", "divergence", "divergence_back"],
    ),
    (
        ptx!("minibatch"),
        &[
            "gather_u16_u8",
            "gather_u16_u16",
            "gather_u16_f32",
            "gather_u32_u8",
            "gather_u32_u16",
            "gather_u32_f32",
        ],
    ),
    (
        ptx!("modules"),
        &["modules", "modules_back", "modules_back_layers"],
    ),
    (
        ptx!("softmax"),
        &["log_sum_of_parts", "log_sum", "shares", "add_bias"],
    ),
    (
        ptx!("sparse_heads"),
        &[
            "sparse_logits_of_1",
            "sparse_logits_of_2",
            "sparse_back_weights_of_1",
            "sparse_back_weights_of_2",
            "sparse_back_hidden_of_1",
            "sparse_back_hidden_of_2",
            "sparse_sum_weights",
        ],
    ),
    (ptx!("sums"), &["sum_parts", "add_gene_sums"]),
];

/// A card and what runs on it.
#[derive(Clone)]
pub(super) struct Card {
    pub(super) device: Device,
    cuda: CudaDevice,
    kernels: Arc<HashMap<&'static str, CudaFunction>>,
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.cuda.fmt(f)
    }
}

/// Blocks and threads of a launch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) blocks: (usize, usize),
    pub(super) threads: (u32, u32),
    /// Blocks in the third direction.
    pub(super) depth: usize,
}

impl Grid {
    pub(super) fn new(blocks: (usize, usize), threads: u32) -> Self {
        Grid {
            blocks,
            threads: (threads, 1),
            depth: 1,
        }
    }

    /// With so many blocks in the third direction.
    pub(super) fn deep(self, depth: usize) -> Self {
        Grid { depth, ..self }
    }

    /// A thread for each of `n` values.
    pub(super) fn over(n: usize) -> Self {
        Grid::new((n.div_ceil(256), 1), 256)
    }
}

/// The address of a tensor's numbers; they stay where they are as long as this lives.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) at: Address,
    _tensor: Tensor,
}

impl Card {
    /// # Errors
    /// When the card or one of its libraries fails.
    pub(super) fn new(ordinal: usize) -> CandleResult<Self> {
        let device = Device::new_cuda(ordinal)?;
        let cuda = device.as_cuda_device()?.clone();
        keep_freed_memory(&cuda)?;
        let context = cuda.cuda_stream().context().clone();
        let mut kernels = HashMap::new();
        for (ptx, names) in MODULES {
            let module = context.load_module(ptx.into()).w()?;
            for &name in names {
                kernels.insert(name, module.load_function(name).w()?);
            }
        }
        Ok(Card {
            device,
            cuda,
            kernels: Arc::new(kernels),
        })
    }

    /// Bytes that are free, and bytes in all.
    pub(super) fn memory(&self) -> CandleResult<(usize, usize)> {
        self.cuda.cuda_stream().context().mem_get_info().w()
    }

    /// Starts a kernel, after all that was started before.
    pub(super) fn launch<A: DeviceRepr>(
        &self,
        kernel: &str,
        grid: Grid,
        arguments: &A,
    ) -> CandleResult<()> {
        let Some(function) = self.kernels.get(kernel) else {
            bail!("there is no kernel {kernel}");
        };
        let (blocks, threads) = (grid.blocks, grid.threads);
        if blocks.0 == 0 || blocks.1 == 0 || grid.depth == 0 {
            return Ok(());
        }
        let stream = self.cuda.cuda_stream();
        let mut builder = stream.launch_builder(function);
        builder.arg(arguments);
        let config = LaunchConfig {
            grid_dim: (blocks.0 as u32, blocks.1 as u32, grid.depth as u32),
            block_dim: (threads.0, threads.1, 1),
            shared_mem_bytes: 0,
        };
        // Safety: the arguments are the kernel's struct, and whoever fills it in holds what it points to until here;
        // memory that is given back later is given back on the same stream.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }

    /// A tensor of unknown values.
    pub(super) fn fresh<T: CudaDType + DeviceRepr>(
        &self,
        shape: impl Into<Shape>,
    ) -> CandleResult<Tensor> {
        let shape = shape.into();
        // Safety: every kernel writes all of what is made for it here before anything reads it.
        let memory = unsafe { self.cuda.alloc::<T>(shape.elem_count().max(1))? };
        let storage = CudaStorage::wrap_cuda_slice(memory, self.cuda.clone());
        let none = BackpropOp::none();
        Ok(Tensor::from_storage(
            Storage::Cuda(storage),
            shape,
            none,
            false,
        ))
    }

    /// The address of a tensor's numbers, one after the other.
    pub(super) fn lend<T: WithDType + CudaDType + DeviceRepr>(
        &self,
        tensor: &Tensor,
    ) -> CandleResult<Lent> {
        let tensor = tensor.contiguous()?;
        let at = {
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else {
                bail!("the card's backend is given a tensor of another device");
            };
            let memory = storage.as_cuda_slice::<T>()?;
            let (start, _) = memory.device_ptr(memory.stream());
            start + (layout.start_offset() * size_of::<T>()) as u64
        };
        Ok(Lent {
            at: Address(at),
            _tensor: tensor,
        })
    }

    /// As [`Card::lend`] of single precision, of a tensor that must have so many values.
    pub(super) fn lend_exactly(&self, tensor: &Tensor, expected: usize) -> CandleResult<Lent> {
        if tensor.elem_count() != expected {
            bail!(
                "{expected} values are needed, {} are there",
                tensor.elem_count()
            );
        }
        self.lend::<f32>(tensor)
    }

    /// Bytes of unknown value.
    pub(super) fn bytes(&self, n: usize) -> CandleResult<CudaSlice<u8>> {
        // Safety: whoever asks for them copies something there before a kernel reads them.
        unsafe { self.cuda.alloc::<u8>(n.max(1)) }
    }

    /// Copies bytes to some of those on the card, from `first` on.
    pub(super) fn copy_to(
        &self,
        bytes: &[u8],
        to: &mut CudaSlice<u8>,
        first: usize,
    ) -> CandleResult<()> {
        let Some(mut to) = to.try_slice_mut(first..first + bytes.len()) else {
            bail!("{} bytes do not fit behind {first}", bytes.len());
        };
        match bytes {
            [] => Ok(()),
            bytes => self.cuda.memcpy_htod(bytes, &mut to),
        }
    }

    /// Memory of the host that the card fetches from by itself.
    pub(super) fn pinned(&self, n: usize) -> CandleResult<PinnedHostSlice<u8>> {
        // Safety: it is written to before anything is fetched.
        unsafe { self.cuda.cuda_stream().context().alloc_pinned(n.max(1)) }.w()
    }

    /// Has the card fetch such memory while the host goes on; it is not to be written to before that is done, which its
    /// `as_mut_slice` waits for.
    pub(super) fn fetch(&self, from: &PinnedHostSlice<u8>) -> CandleResult<CudaSlice<u8>> {
        self.cuda.clone_htod(from)
    }

    /// Copies values to the card.
    pub(super) fn copy<T: DeviceRepr>(&self, values: &[T]) -> CandleResult<CudaSlice<T>> {
        match values {
            // The driver refuses to make room for nothing; nobody reads this.
            [] => unsafe { self.cuda.alloc::<T>(1) },
            values => self.cuda.clone_htod(values),
        }
    }
}

/// The address of memory that is no tensor.
pub(super) fn address<T>(memory: &CudaSlice<T>) -> Address {
    Address(memory.device_ptr(memory.stream()).0)
}

/// Memory that was given back is kept for the next tensor: left alone, the driver returns all of it to the system each time
/// the host waits for the card.
fn keep_freed_memory(cuda: &CudaDevice) -> CandleResult<()> {
    let stream = cuda.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    // Safety: the pool is the device's own, and the attribute is a number of 64 bits.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device())
            .result()
            .w()?;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut all).cast(),
        )
        .result()
        .w()
    }
}
