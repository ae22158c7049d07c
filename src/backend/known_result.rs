//! Operations for back-propagation whose result is computed before they are recorded.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backend::BackendStorage;
use candle_core::backprop::GradStore;
use candle_core::{
    bail, CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result as CandleResult,
    Shape, Storage, Tensor, TensorId,
};

/// `result` as an operation of one to three inputs. `way_back` turns the gradient of the result into those of the
/// inputs, in their order.
///
/// # Errors
/// With another number of inputs.
pub(crate) fn known_result(
    inputs: &[&Tensor],
    result: Tensor,
    way_back: impl Fn(&Tensor) -> CandleResult<Vec<Tensor>> + Send + Sync + 'static,
) -> CandleResult<Tensor> {
    let op = KnownResult {
        result,
        parameters: Vec::new(),
        way_back: Box::new(way_back),
    };
    match inputs {
        [a] => a.apply_op1(op),
        [a, b] => a.apply_op2(b, op),
        [a, b, c] => a.apply_op3(b, c, op),
        _ => bail!("an operation of {} inputs", inputs.len()),
    }
}

/// `result` as an operation of one input and of parameters, whose gradients `way_back` gives after the input's. Those of
/// the parameters are kept aside, see [`back_propagate`]: in the tensor library each would start from zeros and be added.
///
/// # Errors
/// When memory cannot be had.
#[cfg(feature = "cuda")]
pub(crate) fn known_layer(
    input: &Tensor,
    parameters: &[&candle_core::Var],
    result: Tensor,
    way_back: impl Fn(&Tensor) -> CandleResult<Vec<Tensor>> + Send + Sync + 'static,
) -> CandleResult<Tensor> {
    input.apply_op1(KnownResult {
        result,
        parameters: parameters.iter().map(|p| p.as_tensor().id()).collect(),
        way_back: Box::new(way_back),
    })
}

/// Gradients of parameters by the identity of their tensors.
pub(crate) type ParameterGradients = HashMap<TensorId, Tensor>;

thread_local! {
    /// Where the gradients of parameters go while a loss is propagated back on this thread.
    static ASIDE: RefCell<Option<ParameterGradients>> = const { RefCell::new(None) };
}

/// Propagates a loss back: the gradients that the tensor library keeps, and those that were kept aside.
///
/// # Errors
/// When memory cannot be had.
pub(crate) fn back_propagate(loss: &Tensor) -> CandleResult<(GradStore, ParameterGradients)> {
    ASIDE.set(Some(HashMap::new()));
    let propagated = loss.backward();
    let aside = ASIDE.take().unwrap_or_default();
    Ok((propagated?, aside))
}

type WayBack = Box<dyn Fn(&Tensor) -> CandleResult<Vec<Tensor>> + Send + Sync>;

struct KnownResult {
    result: Tensor,
    parameters: Vec<TensorId>,
    way_back: WayBack,
}

impl KnownResult {
    const NAME: &'static str = "known-result";

    fn on_cpu(&self) -> CandleResult<(CpuStorage, Shape)> {
        let (storage, layout) = self.result.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("the result lies on another device than its inputs"),
        }
    }

    fn on_cuda(&self) -> CandleResult<(CudaStorage, Shape)> {
        let (storage, layout) = self.result.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("the result lies on another device than its inputs"),
        }
    }

    fn gradients<const N: usize>(&self, d_out: &Tensor) -> CandleResult<[Option<Tensor>; N]> {
        let mut gradients = (self.way_back)(d_out)?.into_iter();
        let of_inputs = std::array::from_fn(|_| gradients.next());
        for (&parameter, gradient) in self.parameters.iter().zip(gradients) {
            keep_aside(parameter, gradient)?;
        }
        Ok(of_inputs)
    }
}

fn keep_aside(parameter: TensorId, gradient: Tensor) -> CandleResult<()> {
    ASIDE.with_borrow_mut(|aside| {
        let Some(aside) = aside else {
            bail!("gradients of parameters are kept where a loss is propagated back");
        };
        let sum = match aside.remove(&parameter) {
            Some(known) => (known + gradient)?,
            None => gradient,
        };
        aside.insert(parameter, sum);
        Ok(())
    })
}

impl CustomOp1 for KnownResult {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, d_out: &Tensor) -> CandleResult<Option<Tensor>> {
        let [a] = self.gradients(d_out)?;
        Ok(a)
    }
}

impl CustomOp2 for KnownResult {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        d_out: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.gradients(d_out)?;
        Ok((a, b))
    }
}

impl CustomOp3 for KnownResult {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        d_out: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.gradients(d_out)?;
        Ok((a, b, c))
    }
}
