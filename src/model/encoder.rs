//! The encoder: counts -> sparsely connected layer -> fully connected layer -> batchified module -> q(z | x).

use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor, Var};

use super::decoder::{batch_modules, with_columns};
use super::{layer_ids, Design, Mode, Settings, Start};
use crate::kernels::Wiring;
use crate::layers::{sparse_centre, sparse_encode, BatchModule, BatchNorm, Dense, StartingWeights};
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
    /// What the input of each batch's cells is reduced by, genes x batches.
    pub centre: Option<Tensor>,
    /// Follows the sparsely connected layer.
    pub norm: BatchNorm,
    /// The optional fully connected layer with its normalisation.
    pub fc: Option<(Dense, BatchNorm)>,
    /// One per covariate: make the hidden units batch-corrected.
    pub batch_modules: Vec<BatchModule>,
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
        design: &Design,
        weights: Vec<f32>,
        start: &Start,
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
        let n_slots = weights.len();
        Ok(Encoder {
            weights: Var::from_vec(weights, n_slots, device)?,
            bias: Var::zeros(h, candle_core::DType::F32, device)?,
            centre: if s.batch_offsets && design.n_batches() > 1 {
                let shape = (start.log_share.len(), design.n_batches());
                Some(Tensor::from_vec(start.centre.clone(), shape, device)?)
            } else {
                None
            },
            norm: BatchNorm::new(h, device)?,
            fc,
            batch_modules: batch_modules(s, design, streams, layer_ids::ENCODER_BATCH, device)?,
            mean: dense(h, l, layer_ids::LATENT_MEAN)?,
            log_variance: dense(h, l, layer_ids::LATENT_VARIANCE)?,
        })
    }

    /// Sets what the input of batches from `first` on is reduced by, a vector of genes for each.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn set_centre(&mut self, first: usize, values: &[Vec<f64>]) -> CandleResult<()> {
        if let Some(centre) = &mut self.centre {
            *centre = with_columns(centre, first, values)?;
        }
        Ok(())
    }

    /// The sparsely connected layer alone, before its normalisation.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn first_layer(&self, minibatch: &MiniBatch, wiring: &Arc<Wiring>) -> CandleResult<Tensor> {
        let x = sparse_encode(minibatch, wiring, &self.weights, &self.bias)?;
        let Some(centre) = &self.centre else {
            return Ok(x);
        };
        let segments = &minibatch.segments;
        let batches: Vec<usize> = segments.iter().map(|s| s.batch).collect();
        let columns: Vec<u32> = batches.iter().map(|&b| b as u32).collect();
        let columns = Tensor::from_vec(columns, batches.len(), x.device())?;
        let centre = centre.index_select(&columns, 1)?.t()?.contiguous()?;
        let centre = sparse_centre(&centre, &batches, wiring, &self.weights)?;
        let codes: Vec<u32> = (segments.iter().enumerate())
            .flat_map(|(i, s)| std::iter::repeat_n(i as u32, s.rows.len()))
            .collect();
        let codes = Tensor::from_vec(codes, minibatch.n_cells(), x.device())?;
        x - centre.index_select(&codes, 0)?
    }

    /// q(z | x) of a mini-batch's cells.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(
        &mut self,
        minibatch: &MiniBatch,
        wiring: &Arc<Wiring>,
        design: &Design,
        mode: &mut Mode,
    ) -> CandleResult<Posterior> {
        let mut x = self.hidden(minibatch, wiring, mode)?;
        for (covariate, module) in self.batch_modules.iter().enumerate() {
            x = module.forward(&x, &minibatch.segments, &design.of_batches(covariate))?;
        }
        Ok(Posterior {
            mean: self.mean.forward(&x)?,
            variance: (self.log_variance.forward(&x)?.exp()? + LEAST_VARIANCE)?,
        })
    }

    /// What the batchified modules read, cells x hidden units.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn hidden(
        &mut self,
        minibatch: &MiniBatch,
        wiring: &Arc<Wiring>,
        mode: &mut Mode,
    ) -> CandleResult<Tensor> {
        let x = self.first_layer(minibatch, wiring)?;
        let x = mode.normalise(&mut self.norm, &x)?;
        let mut x = mode.dropout(&x.relu()?)?;
        if let Some((layer, norm)) = &mut self.fc {
            x = mode.normalise(norm, &layer.forward(&x)?)?;
            x = mode.dropout(&x.relu()?)?;
        }
        Ok(x)
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
