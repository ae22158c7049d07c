//! The encoder: counts -> sparsely connected layer -> fully connected layer -> batchified module -> q(z | x).

use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor, Var};

use super::layer_ids;
use super::{Mode, Settings};
use crate::kernels::Wiring;
use crate::layers::{sparse_encode, BatchModule, BatchNorm, Dense, StartingWeights};
use crate::sampling::{MiniBatch, Streams};

/// Least variance of q(z | x), as in scVI.
const LEAST_VARIANCE: f64 = 1e-4;

/// Approximate posterior of each cell's latent variables.
pub struct Posterior {
    /// Cells x latent dimensions.
    pub mean: Tensor,
    /// Cells x latent dimensions.
    pub variance: Tensor,
}

/// Layers of the encoder.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// One weight per slot of the wiring.
    pub weights: Var,
    /// One per hidden unit.
    pub bias: Var,
    /// Follows the sparsely connected layer.
    pub norm: BatchNorm,
    /// The optional fully connected layer with its normalisation.
    pub fc: Option<(Dense, BatchNorm)>,
    /// With several batches: makes the hidden units batch-corrected.
    pub batch_module: Option<BatchModule>,
    /// Mean of q(z | x).
    pub mean: Dense,
    /// Log variance of q(z | x).
    pub log_variance: Dense,
}

impl Encoder {
    /// Starting weights of the sparsely connected layer.
    pub fn starting_weights(streams: Streams, wiring: &Wiring) -> StartingWeights {
        let n_in = wiring.n_slots() as f32 / wiring.n_hidden as f32;
        StartingWeights {
            streams,
            layer: layer_ids::ENCODER_SPARSE,
            bound: 1.0 / n_in.sqrt(),
        }
    }

    /// Fresh layers.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        s: &Settings,
        n_batches: usize,
        weights: Vec<f32>,
        streams: Streams,
        device: &Device,
    ) -> CandleResult<Self> {
        let (h, l) = (s.n_hidden, s.n_latent);
        let dense = |n_in, n_out, id| Dense::new(n_in, n_out, streams, id, device);
        let fc = if s.fc_layer {
            let layer = dense(h, h, layer_ids::ENCODER_FC)?;
            Some((layer, BatchNorm::new(h, device)?))
        } else {
            None
        };
        let batch_module = if n_batches > 1 {
            let id = layer_ids::ENCODER_BATCH;
            Some(BatchModule::new(h, n_batches, s.beta, streams, id, device)?)
        } else {
            None
        };
        let n_slots = weights.len();
        Ok(Encoder {
            weights: Var::from_vec(weights, n_slots, device)?,
            bias: Var::zeros(h, candle_core::DType::F32, device)?,
            norm: BatchNorm::new(h, device)?,
            fc,
            batch_module,
            mean: dense(h, l, layer_ids::LATENT_MEAN)?,
            log_variance: dense(h, l, layer_ids::LATENT_VARIANCE)?,
        })
    }

    /// q(z | x) of a mini-batch's cells.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(
        &mut self,
        minibatch: &MiniBatch,
        wiring: &Arc<Wiring>,
        mode: &mut Mode,
    ) -> CandleResult<Posterior> {
        let x = sparse_encode(minibatch, wiring, &self.weights, &self.bias)?;
        let mut x = mode.dropout(&mode.normalise(&mut self.norm, &x)?.relu()?)?;
        if let Some((layer, norm)) = &mut self.fc {
            x = mode.dropout(&mode.normalise(norm, &layer.forward(&x)?)?.relu()?)?;
        }
        if let Some(module) = &self.batch_module {
            x = module.forward(&x, &minibatch.segments)?;
        }
        Ok(Posterior {
            mean: self.mean.forward(&x)?,
            variance: (self.log_variance.forward(&x)?.exp()? + LEAST_VARIANCE)?,
        })
    }
}

impl Posterior {
    /// A draw of z, given standard normal noise of its shape.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn draw(&self, noise: &Tensor) -> CandleResult<Tensor> {
        &self.mean + (self.variance.sqrt()? * noise)?
    }

    /// KL divergence to the standard normal prior, one value per cell.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn kl(&self) -> CandleResult<Tensor> {
        let terms = ((self.mean.sqr()? + &self.variance)? - (self.variance.log()? + 1.0)?)?;
        terms.sum(1)? * 0.5
    }
}
