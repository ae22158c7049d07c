//! What differs between training and use: normalisation statistics and dropout.

use candle_core::{Result as CandleResult, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::backend::Backend;
use crate::layers::BatchNorm;
use crate::sampling::DropoutDraw;

/// How layers behave in a pass.
pub enum Mode {
    /// Statistics of the mini-batch, hidden units silenced at random.
    Train {
        /// Which are.
        dropout: Dropout,
    },
    /// Running statistics, nothing random.
    Evaluate,
    /// The same, for training that leaves the statistics and the encoder as they are: the decoder's gradients are wanted.
    Frozen,
}

/// The hidden units that are silenced, of one layer after the other.
pub struct Dropout {
    of_layers: std::vec::IntoIter<DropoutDraw>,
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
        let of_layers: Vec<DropoutDraw> = (0..n_layers)
            .map(|_| DropoutDraw::new(rate, n_units, rng))
            .collect();
        Dropout {
            of_layers: of_layers.into_iter(),
        }
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
        let draw = match with_dropout {
            true => dropout.of_layers.next(),
            false => None,
        };
        let factors = draw.map(|draw| backend.dropout(&draw, x.shape()));
        norm.train(backend, x, factors.transpose()?)
    }
}
