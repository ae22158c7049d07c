//! What differs between training and use: normalisation statistics and dropout.

use candle_core::{Result as CandleResult, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::backend::Backend;
use crate::layers::BatchNorm;

/// How layers behave in a pass.
pub enum Mode<'a> {
    /// Statistics of the mini-batch, hidden units silenced at random.
    Train {
        /// Share of the hidden units that are silenced.
        dropout_rate: f64,
        /// Where the randomness comes from.
        rng: &'a mut ChaCha8Rng,
    },
    /// Running statistics, nothing random.
    Evaluate,
    /// The same, for training that leaves the statistics as they are: gradients are wanted.
    Frozen,
}

impl Mode<'_> {
    pub(super) fn wants_gradients(&self) -> bool {
        !matches!(self, Mode::Evaluate)
    }

    pub(super) fn normalise<B: Backend>(
        &self,
        backend: &B,
        norm: &BatchNorm,
        x: &Tensor,
    ) -> CandleResult<Tensor> {
        match self {
            Mode::Train { .. } => norm.train(backend, x),
            Mode::Evaluate | Mode::Frozen => norm.apply(x),
        }
    }

    pub(super) fn dropout(&mut self, x: &Tensor) -> CandleResult<Tensor> {
        let Mode::Train { dropout_rate, rng } = self else {
            return Ok(x.clone());
        };
        if *dropout_rate == 0.0 {
            return Ok(x.clone());
        }
        let kept = (1.0 / (1.0 - *dropout_rate)) as f32;
        let factors: Vec<f32> = (0..x.elem_count())
            .map(|_| {
                if rng.random::<f64>() < *dropout_rate {
                    0.0
                } else {
                    kept
                }
            })
            .collect();
        x * Tensor::from_vec(factors, x.shape(), x.device())?
    }
}
