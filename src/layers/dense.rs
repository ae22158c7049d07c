//! Fully connected layers with weights from the model's own random streams.

use candle_core::{Device, Result as CandleResult, Tensor, Var};
use rand::Rng;

use crate::backend::Backend;
use crate::sampling::{Purpose, Streams};

/// A fully connected layer.
#[derive(Debug)]
pub struct Dense {
    /// Outputs x inputs.
    pub weight: Var,
    /// One per output.
    pub bias: Var,
}

impl Dense {
    /// Weights and biases uniform within one over the square root of the number of inputs; `layer` names the stream.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        n_in: usize,
        n_out: usize,
        streams: Streams,
        layer: u32,
        device: &Device,
    ) -> CandleResult<Self> {
        let mut rng = streams.stream(Purpose::Weights, layer);
        let bound = 1.0 / (n_in as f32).sqrt();
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n)
                .map(|_| bound * (2.0 * rng.random::<f32>() - 1.0))
                .collect()
        };
        Ok(Dense {
            weight: Var::from_vec(draw(n_in * n_out), (n_out, n_in), device)?,
            bias: Var::from_vec(draw(n_out), n_out, device)?,
        })
    }

    /// Cells x inputs to cells x outputs.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward<B: Backend>(&self, backend: &B, x: &Tensor) -> CandleResult<Tensor> {
        backend.linear(x, &self.weight, &self.bias)
    }
}
