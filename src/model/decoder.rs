//! The decoder: z -> fully connected layer -> batchified module -> sparsely connected heads of the count distribution.

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};

use super::batch_rows::{batch_modules, rows_of_segments, set_rows};
use super::{layer_ids, Mode, Settings};
use crate::backend::{Backend, HeadTensors, LossTensors};
use crate::batches::{Design, InitialValues};
use crate::kernels::{Segment, Wiring};
use crate::layers::{AdjustmentRules, BatchModule, BatchNorm, Dense, StartingWeights};
use crate::sampling::Streams;

/// One sparsely connected head: a value per gene and cell.
#[derive(Debug)]
pub struct SparseHead {
    /// One weight per slot of the wiring.
    pub weights: Var,
    /// One per gene.
    pub bias: Var,
}

/// Parameters of the count distribution, genes x cells.
pub struct CountParameters {
    /// Logits of `px_scale`.
    pub scale: Tensor,
    /// Logits of `px_dropout`; absent for distributions without extra zeros.
    pub dropout: Option<Tensor>,
}

/// Layers of the decoder.
#[derive(Debug)]
pub struct Decoder {
    /// Latent to hidden.
    pub fc: Dense,
    /// Follows it.
    pub norm: BatchNorm,
    /// One per covariate: bring the batch effect back.
    pub batch_modules: Vec<BatchModule>,
    /// Mirrors the encoder's sparsely connected layer, with weights of its own.
    pub scale: SparseHead,
    /// What each level of a covariate adds to the scale head's bias, levels x genes; one tensor per covariate.
    pub offsets: Vec<Var>,
    /// The same for the extra zeros.
    pub dropout: Option<SparseHead>,
    /// Log of `px_r`, one per gene; absent for distributions without a dispersion.
    pub log_theta: Option<Var>,
}

impl Decoder {
    /// Starting weights of the heads, scale first, dropout second, whose genes have their first number of connections.
    pub fn starting_weights(
        streams: Streams,
        rules: &AdjustmentRules,
        n_hidden: usize,
    ) -> [StartingWeights; 2] {
        let n_in = rules.n_init(n_hidden) as f32;
        [layer_ids::SCALE, layer_ids::DROPOUT].map(|layer| StartingWeights {
            streams,
            layer,
            bound: 1.0 / n_in.sqrt(),
        })
    }

    /// Fresh layers. The scale head's biases start from the genes' shares of the counts.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        s: &Settings,
        design: &Design,
        wiring: &Wiring,
        initial: &InitialValues,
        streams: Streams,
        device: &Device,
    ) -> CandleResult<Self> {
        let n_genes = initial.log_share.len();
        let [scale, dropout] = Self::starting_weights(streams, &s.adjustment_rules(), s.n_hidden);
        let head = |start: StartingWeights, bias: Var| -> CandleResult<SparseHead> {
            Ok(SparseHead {
                weights: Var::from_vec(start.all(wiring), wiring.n_slots(), device)?,
                bias,
            })
        };
        let zeros = || Var::zeros(n_genes, DType::F32, device);
        let offsets = if s.batch_offsets {
            let ratios = initial.log_ratios.iter().zip(design.n_levels());
            ratios
                .map(|(ratios, &n)| Var::from_vec(ratios.clone(), (n, n_genes), device))
                .collect::<CandleResult<_>>()?
        } else {
            Vec::new()
        };
        let dropout = if s.likelihood.has_dropout() {
            Some(head(dropout, zeros()?)?)
        } else {
            None
        };
        let log_theta = if s.likelihood.has_dispersion() {
            Some(zeros()?)
        } else {
            None
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
            batch_modules: batch_modules(s, design, streams, layer_ids::DECODER_BATCH, device)?,
            scale: head(
                scale,
                Var::from_vec(initial.log_share.clone(), n_genes, device)?,
            )?,
            offsets,
            dropout,
            log_theta,
        })
    }

    /// The last hidden layer, cells x hidden units, of cells with latent values `z`; the segments' batches, by `design`,
    /// say what style the cells get.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn hidden<B: Backend>(
        &self,
        backend: &B,
        z: &Tensor,
        segments: &[Segment],
        design: &Design,
        mode: &mut Mode,
    ) -> CandleResult<Tensor> {
        let mut x = self.hidden_of_no_batch(backend, z, mode)?;
        for (covariate, module) in self.batch_modules.iter().enumerate() {
            let level = |batch| design.level(covariate, batch);
            x = module.forward(backend, &x, segments, level)?;
        }
        Ok(x)
    }

    /// The last hidden layer of cells of no batch, before any batchified module: cells x hidden units.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn hidden_of_no_batch<B: Backend>(
        &self,
        backend: &B,
        z: &Tensor,
        mode: &mut Mode,
    ) -> CandleResult<Tensor> {
        let x = self.fc.forward(backend, z)?;
        mode.activate(backend, &self.norm, &x, false)
    }

    /// Parameters of the counts, given the last hidden layer.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn count_parameters<B: Backend>(
        &self,
        backend: &B,
        hidden: &Tensor,
        segments: &[Segment],
        wiring: &B::Wiring,
        design: &Design,
    ) -> CandleResult<CountParameters> {
        let head = |h: &SparseHead, bias: &Tensor| {
            backend.decode(hidden, segments, wiring, &h.weights, bias)
        };
        let dropout = self.dropout.as_ref();
        Ok(CountParameters {
            scale: head(&self.scale, &self.scale_bias(segments, design)?)?,
            dropout: dropout.map(|d| head(d, &d.bias)).transpose()?,
        })
    }

    /// The scale head's bias: one per gene, or segments x genes.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn scale_bias(&self, segments: &[Segment], design: &Design) -> CandleResult<Tensor> {
        let mut bias = self.scale.bias.as_detached_tensor();
        for (covariate, offsets) in self.offsets.iter().enumerate() {
            let level = |batch| design.level(covariate, batch);
            let offsets = rows_of_segments(&offsets.as_detached_tensor(), segments, level)?;
            bias = offsets.broadcast_add(&bias)?;
        }
        Ok(bias)
    }

    /// The scale head's bias of no batch: with the mean of each covariate's offsets, one per gene.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn scale_bias_of_no_batch(&self) -> CandleResult<Tensor> {
        let mut bias = self.scale.bias.as_detached_tensor();
        for offsets in &self.offsets {
            bias = (bias + offsets.as_detached_tensor().mean(0)?)?;
        }
        Ok(bias)
    }

    /// Sets the offsets of a covariate's levels from `first` on, a vector of genes for each.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn set_offsets(
        &self,
        covariate: usize,
        first: usize,
        values: &[Vec<f64>],
    ) -> CandleResult<()> {
        set_rows(&self.offsets[covariate], first, values)
    }

    /// The parameters that the loss is computed from, besides the last hidden layer; `scale_bias` is that of
    /// [`Decoder::scale_bias`].
    pub fn loss_tensors<'a>(&'a self, scale_bias: &'a Tensor) -> LossTensors<'a> {
        LossTensors {
            scale: HeadTensors {
                weights: self.scale.weights.as_tensor(),
                bias: scale_bias,
            },
            dropout: self.dropout.as_ref().map(|head| HeadTensors {
                weights: head.weights.as_tensor(),
                bias: head.bias.as_tensor(),
            }),
            log_theta: self
                .log_theta
                .as_ref()
                .map(|log_theta| log_theta.as_tensor()),
        }
    }
}
