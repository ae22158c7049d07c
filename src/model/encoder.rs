//! The encoder: counts -> sparsely connected layer -> fully connected layer -> batchified module -> q(z | x).

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};

use super::batch_rows::{batch_modules, rows_of_segments, set_rows};
use super::{layer_ids, Mode, Settings};
use crate::backend::Backend;
use crate::batches::{Design, InitialValues};
use crate::kernels::Segment;
use crate::layers::{
    sparse_encode, sparse_shift, AdjustmentRules, BatchModule, BatchNorm, Dense, StartingWeights,
};
use crate::sampling::Streams;

/// Least variance of q(z | x), as in scVI.
const LEAST_VARIANCE: f64 = 1e-4;

/// Approximate posterior of each cell's latent variables.
pub struct Posterior {
    /// Cells x latent dimensions.
    pub mean: Tensor,
    /// Cells x latent dimensions; see [`Posterior::variance`].
    pub log_variance: Tensor,
}

/// Layers of the encoder.
#[derive(Debug)]
pub struct Encoder {
    /// One weight per slot of the wiring.
    pub weights: Var,
    /// One per hidden unit.
    pub bias: Var,
    /// What the input of each batch's cells is reduced by, batches x genes.
    pub input_shift: Option<Var>,
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

/// Counts where a device reads them, and which batches their cells belong to.
pub struct EncoderInput<'a, B: Backend> {
    /// The device.
    pub backend: &'a B,
    /// The counts.
    pub minibatch: &'a B::MiniBatch,
    /// The cells of each batch.
    pub segments: &'a [Segment],
    /// The connections.
    pub wiring: &'a B::Wiring,
}

impl Encoder {
    /// Starting weights of the sparsely connected layer, whose hidden units have as many connections on average as when
    /// every gene has its first number of them.
    pub fn starting_weights(
        streams: Streams,
        rules: &AdjustmentRules,
        n_genes: usize,
        n_hidden: usize,
    ) -> StartingWeights {
        let n_in = (rules.n_init(n_hidden) * n_genes) as f32 / n_hidden as f32;
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
        initial: &InitialValues,
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
            bias: Var::zeros(h, DType::F32, device)?,
            input_shift: if s.batch_offsets && design.n_batches() > 1 {
                let shape = (design.n_batches(), initial.log_share.len());
                Some(Var::from_vec(initial.input_shift.clone(), shape, device)?)
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

    /// Layers that a dropout goes through.
    pub fn n_dropout_layers(&self) -> usize {
        1 + usize::from(self.fc.is_some())
    }

    /// Sets what the input of batches from `first` on is reduced by, a vector of genes for each.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn set_input_shift(&self, first: usize, values: &[Vec<f64>]) -> CandleResult<()> {
        match &self.input_shift {
            Some(shift) => set_rows(shift, first, values),
            None => Ok(()),
        }
    }

    /// The sparsely connected layer alone, before its normalisation.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn first_layer<B: Backend>(&self, input: &EncoderInput<B>) -> CandleResult<Tensor> {
        let EncoderInput {
            backend,
            minibatch,
            segments,
            wiring,
        } = input;
        let x = sparse_encode(*backend, minibatch, wiring, &self.weights, &self.bias)?;
        let Some(shift) = &self.input_shift else {
            return Ok(x);
        };
        let batches: Vec<usize> = segments.iter().map(|s| s.batch).collect();
        let shift = rows_of_segments(&shift.as_detached_tensor(), segments, |batch| batch)?;
        let shift = sparse_shift(*backend, &shift, &batches, wiring, &self.weights)?;
        backend.take_off(&x, &shift, segments)
    }

    /// q(z | x) of a mini-batch's cells.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward<B: Backend>(
        &self,
        input: &EncoderInput<B>,
        design: &Design,
        mode: &mut Mode,
    ) -> CandleResult<Posterior> {
        let mut x = self.hidden(input, mode)?;
        for (covariate, module) in self.batch_modules.iter().enumerate() {
            let level = |batch| design.level(covariate, batch);
            x = module.forward(input.backend, &x, input.segments, level)?;
        }
        Ok(Posterior {
            mean: self.mean.forward(input.backend, &x)?,
            log_variance: self.log_variance.forward(input.backend, &x)?,
        })
    }

    /// What the batchified modules read, cells x hidden units.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn hidden<B: Backend>(
        &self,
        input: &EncoderInput<B>,
        mode: &mut Mode,
    ) -> CandleResult<Tensor> {
        let x = self.first_layer(input)?;
        let mut x = mode.activate(input.backend, &self.norm, &x, true)?;
        if let Some((layer, norm)) = &self.fc {
            x = layer.forward(input.backend, &x)?;
            x = mode.activate(input.backend, norm, &x, true)?;
        }
        Ok(x)
    }
}

impl Posterior {
    /// Cells x latent dimensions.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn variance(&self) -> CandleResult<Tensor> {
        self.log_variance.exp()? + LEAST_VARIANCE
    }

    /// A draw of z, given standard normal noise of its shape, and the divergence from the standard normal prior, mean over
    /// cells.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn draw<B: Backend>(&self, backend: &B, noise: &Tensor) -> CandleResult<(Tensor, Tensor)> {
        backend.draw(&self.mean, &self.log_variance, LEAST_VARIANCE, noise)
    }
}
