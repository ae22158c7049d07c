//! The decoder: z -> fully connected layer -> batchified module -> sparsely connected heads of the count distribution.

use std::ops::Range;

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};

use super::{layer_ids, Mode, Settings};
use crate::kernels::Wiring;
use crate::layers::{sparse_decode, BatchModule, BatchNorm, Dense, StartingWeights};
use crate::likelihood::{HeadTensors, Likelihood, LossTensors};
use crate::sampling::Streams;

/// One sparsely connected head: a value per gene and cell.
#[derive(Debug, Clone)]
pub struct SparseHead {
    /// One weight per slot of the wiring.
    pub weights: Var,
    /// One per gene.
    pub bias: Var,
}

impl SparseHead {
    fn tensors(&self) -> HeadTensors<'_> {
        HeadTensors {
            weights: self.weights.as_tensor(),
            bias: self.bias.as_tensor(),
        }
    }
}

/// Parameters of the count distribution, genes x cells.
pub struct CountParameters {
    /// Logits of `px_scale`.
    pub scale: Tensor,
    /// Logits of `px_dropout`; absent for the negative binomial.
    pub dropout: Option<Tensor>,
}

/// Layers of the decoder.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Latent to hidden.
    pub fc: Dense,
    /// Follows it.
    pub norm: BatchNorm,
    /// With several batches: brings the batch effect back.
    pub batch_module: Option<BatchModule>,
    /// Mirrors the encoder's sparsely connected layer, with weights of its own.
    pub scale: SparseHead,
    /// The same for the zero inflation.
    pub dropout: Option<SparseHead>,
    /// Log of `px_r`, one per gene.
    pub log_theta: Var,
}

impl Decoder {
    /// Starting weights of the heads: scale first, dropout second.
    pub fn starting_weights(streams: Streams, wiring: &Wiring) -> [StartingWeights; 2] {
        let n_in = wiring.n_slots() as f32 / wiring.n_genes() as f32;
        [layer_ids::SCALE, layer_ids::DROPOUT].map(|layer| StartingWeights {
            streams,
            layer,
            bound: 1.0 / n_in.sqrt(),
        })
    }

    /// Fresh layers. `log_frequency` is each gene's log share of all counts: what the scale head starts from.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        s: &Settings,
        n_batches: usize,
        wiring: &Wiring,
        log_frequency: Vec<f32>,
        streams: Streams,
        device: &Device,
    ) -> CandleResult<Self> {
        let n_genes = log_frequency.len();
        let [scale, dropout] = Self::starting_weights(streams, wiring);
        let head = |start: StartingWeights, bias: Var| -> CandleResult<SparseHead> {
            Ok(SparseHead {
                weights: Var::from_vec(start.all(wiring), wiring.n_slots(), device)?,
                bias,
            })
        };
        let batch_module = if n_batches > 1 {
            let id = layer_ids::DECODER_BATCH;
            let n = s.n_hidden;
            Some(BatchModule::new(n, n_batches, s.beta, streams, id, device)?)
        } else {
            None
        };
        let dropout = match s.likelihood {
            Likelihood::Zinb => Some(head(dropout, Var::zeros(n_genes, DType::F32, device)?)?),
            Likelihood::Nb => None,
        };
        Ok(Decoder {
            fc: Dense::new(
                s.n_latent,
                s.n_hidden,
                streams,
                layer_ids::DECODER_FC,
                device,
            )?,
            norm: BatchNorm::new(s.n_hidden, device)?,
            batch_module,
            scale: head(scale, Var::from_vec(log_frequency, n_genes, device)?)?,
            dropout,
            log_theta: Var::zeros(n_genes, DType::F32, device)?,
        })
    }

    /// The last hidden layer, cells x hidden units, of cells with latent values `z`; `segments` says which batch's style
    /// each cell gets.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn hidden(
        &mut self,
        z: &Tensor,
        segments: &[Range<usize>],
        mode: &mut Mode,
    ) -> CandleResult<Tensor> {
        let x = self.fc.forward(z)?;
        let mut x = mode.normalise(&mut self.norm, &x)?.relu()?;
        if let Some(module) = &self.batch_module {
            x = module.forward(&x, segments)?;
        }
        Ok(x)
    }

    /// Parameters of the counts, given the last hidden layer.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn count_parameters(
        &self,
        hidden: &Tensor,
        segments: &[Range<usize>],
        wiring: &Wiring,
    ) -> CandleResult<CountParameters> {
        let head = |h: &SparseHead| sparse_decode(hidden, segments, wiring, &h.weights, &h.bias);
        Ok(CountParameters {
            scale: head(&self.scale)?,
            dropout: self.dropout.as_ref().map(head).transpose()?,
        })
    }

    /// The parameters that the loss is computed from, besides the last hidden layer.
    pub fn loss_tensors(&self) -> LossTensors<'_> {
        LossTensors {
            scale: self.scale.tensors(),
            dropout: self.dropout.as_ref().map(SparseHead::tensors),
            log_theta: self.log_theta.as_tensor(),
        }
    }
}
