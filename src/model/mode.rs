//! What differs between training and use: normalisation statistics and dropout.

use candle_core::{Result as CandleResult, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::backend::Backend;
use crate::layers::BatchNorm;

/// How layers behave in a pass.
pub enum Mode {
    /// Statistics of the mini-batch, hidden units silenced at random.
    Train {
        /// Which are.
        dropout: Dropout,
    },
    /// Running statistics, nothing random.
    Evaluate,
    /// The same, for training that leaves the statistics as they are: gradients are wanted.
    Frozen,
}

/// The factors of hidden units of one layer after the other: zero for silenced units, the others make up for them. They
/// are drawn ahead, so that a step need not wait for them.
pub struct Dropout {
    of_layers: std::vec::IntoIter<Vec<f32>>,
}

impl Dropout {
    /// Nothing is silenced.
    pub fn none() -> Self {
        Dropout {
            of_layers: Vec::new().into_iter(),
        }
    }

    /// Silences this share of the units of layers with `n_units` each, all cells taken together.
    pub fn draw(rate: f64, n_layers: usize, n_units: usize, rng: &mut ChaCha8Rng) -> Self {
        if rate == 0.0 {
            return Dropout::none();
        }
        let kept = (1.0 / (1.0 - rate)) as f32;
        let mut factor = |_| {
            if rng.random::<f64>() < rate {
                0.0
            } else {
                kept
            }
        };
        let of_layers: Vec<Vec<f32>> = (0..n_layers)
            .map(|_| (0..n_units).map(&mut factor).collect())
            .collect();
        Dropout {
            of_layers: of_layers.into_iter(),
        }
    }

    fn next(&mut self, like: &Tensor) -> CandleResult<Option<Tensor>> {
        let factors = self.of_layers.next();
        factors
            .map(|factors| Tensor::from_vec(factors, like.shape(), like.device()))
            .transpose()
    }
}

impl Mode {
    pub(super) fn wants_gradients(&self) -> bool {
        !matches!(self, Mode::Evaluate)
    }

    /// Normalisation, ReLU and, if asked for, dropout.
    pub(super) fn activate<B: Backend>(
        &mut self,
        backend: &B,
        norm: &BatchNorm,
        x: &Tensor,
        with_dropout: bool,
    ) -> CandleResult<Tensor> {
        let Mode::Train { dropout } = self else {
            return norm.apply(backend, x);
        };
        let factors = match with_dropout {
            true => dropout.next(x)?,
            false => None,
        };
        norm.train(backend, x, factors)
    }
}
