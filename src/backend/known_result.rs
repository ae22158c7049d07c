//! Operations for back-propagation whose result is computed before they are recorded.
//!
//! On the processor the tensor library records them. On a card they are recorded here: in the library each gradient would
//! start from zeros and be added to them, two launches that take the host longer than the card.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backend::BackendStorage;
use candle_core::{
    bail, CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result as CandleResult, Shape,
    Storage, Tensor, TensorId,
};

/// `result` as an operation of some inputs, of one to three on the processor. `way_back` turns the gradient of the result
/// into those of the inputs, in their order.
///
/// # Errors
/// With another number of inputs.
pub(crate) fn known_result(
    inputs: &[&Tensor],
    result: Tensor,
    way_back: impl Fn(&Tensor) -> CandleResult<Vec<Tensor>> + Send + Sync + 'static,
) -> CandleResult<Tensor> {
    let way_back = Box::new(way_back);
    if result.device().is_cuda() {
        return Ok(record(inputs, result, way_back));
    }
    let op = KnownResult { result, way_back };
    match inputs {
        [a] => a.apply_op1(op),
        [a, b] => a.apply_op2(b, op),
        [a, b, c] => a.apply_op3(b, c, op),
        _ => bail!("an operation of {} inputs", inputs.len()),
    }
}

/// What was computed on a card, in order.
#[derive(Default)]
pub(crate) struct Recording {
    operations: Vec<Operation>,
}

struct Operation {
    inputs: Vec<TensorId>,
    result: Tensor,
    way_back: WayBack,
}

thread_local! {
    /// What is being recorded on this thread.
    static CURRENT: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

fn record(inputs: &[&Tensor], result: Tensor, way_back: WayBack) -> Tensor {
    CURRENT.with_borrow_mut(|current| {
        if let Some(recording) = current {
            recording.operations.push(Operation {
                inputs: inputs.iter().map(|input| input.id()).collect(),
                result: result.clone(),
                way_back,
            });
        }
    });
    result
}

impl Recording {
    /// Does the work and records what it computes on a card.
    ///
    /// # Errors
    /// As the work.
    pub(crate) fn of<T>(work: impl FnOnce() -> crate::Result<T>) -> crate::Result<(T, Self)> {
        CURRENT.set(Some(Recording::default()));
        let done = work();
        let recording = CURRENT.take().unwrap_or_default();
        Ok((done?, recording))
    }

    /// Whether nothing was computed on a card.
    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Takes the gradients of some results back to everything that was recorded; results are scalars.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub(crate) fn back(
        &self,
        of_results: &[(&Tensor, f64)],
    ) -> CandleResult<HashMap<TensorId, Tensor>> {
        let mut gradients = HashMap::new();
        for &(result, gradient) in of_results.iter().filter(|(_, gradient)| *gradient != 0.0) {
            let gradient = Tensor::full(gradient as f32, result.shape(), result.device())?;
            gradients.insert(result.id(), gradient);
        }
        for operation in self.operations.iter().rev() {
            let Some(own) = gradients.remove(&operation.result.id()) else {
                continue;
            };
            let of_inputs = (operation.way_back)(&own)?;
            for (&input, gradient) in operation.inputs.iter().zip(of_inputs) {
                let sum = match gradients.remove(&input) {
                    Some(known) => (known + gradient)?,
                    None => gradient,
                };
                gradients.insert(input, sum);
            }
        }
        Ok(gradients)
    }
}

type WayBack = Box<dyn Fn(&Tensor) -> CandleResult<Vec<Tensor>> + Send + Sync>;

/// An operation that the tensor library records.
struct KnownResult {
    result: Tensor,
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

    fn gradients<const N: usize>(&self, d_out: &Tensor) -> CandleResult<[Option<Tensor>; N]> {
        let mut gradients = (self.way_back)(d_out)?.into_iter();
        Ok(std::array::from_fn(|_| gradients.next()))
    }
}

impl CustomOp1 for KnownResult {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        self.on_cpu()
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
