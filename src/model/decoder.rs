//! The decoder: z -> fully connected layer -> batchified module -> sparsely connected heads of the count distribution.

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};

use super::{layer_ids, Design, Mode, Settings, Start};
use crate::kernels::{Segment, Wiring};
use crate::layers::{sparse_decode, BatchModule, BatchNorm, Dense, StartingWeights};
use crate::likelihood::{HeadTensors, Likelihood, LossTensors};
use crate::sampling::Streams;
use crate::values::CpuValues;

/// One sparsely connected head: a value per gene and cell.
#[derive(Debug, Clone)]
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
    /// Logits of `px_dropout`; absent where the distribution has none.
    pub dropout: Option<Tensor>,
}

/// Layers of the decoder.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Latent to hidden.
    pub fc: Dense,
    /// Follows it.
    pub norm: BatchNorm,
    /// One per covariate: bring the batch effect back.
    pub batch_modules: Vec<BatchModule>,
    /// Mirrors the encoder's sparsely connected layer, with weights of its own.
    pub scale: SparseHead,
    /// What each level of a covariate adds to the scale head's bias, genes x levels; one tensor per covariate.
    pub offsets: Vec<Var>,
    /// The same for the zero inflation.
    pub dropout: Option<SparseHead>,
    /// Log of `px_r`, one per gene, if the distribution has it.
    pub log_theta: Option<Var>,
    /// The counts' distribution.
    pub likelihood: Likelihood,
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

    /// Fresh layers. The scale head's biases start from the genes' shares of the counts.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        s: &Settings,
        design: &Design,
        wiring: &Wiring,
        start: &Start,
        streams: Streams,
        device: &Device,
    ) -> CandleResult<Self> {
        let n_genes = start.log_share.len();
        let [scale, dropout] = Self::starting_weights(streams, wiring);
        let head = |start: StartingWeights, bias: Var| -> CandleResult<SparseHead> {
            Ok(SparseHead {
                weights: Var::from_vec(start.all(wiring), wiring.n_slots(), device)?,
                bias,
            })
        };
        let offsets = if s.batch_offsets {
            let ratios = start.log_ratios.iter().zip(design.n_levels());
            ratios
                .map(|(ratios, &n)| Var::from_vec(ratios.clone(), (n_genes, n), device))
                .collect::<CandleResult<_>>()?
        } else {
            Vec::new()
        };
        let zeros = || Var::zeros(n_genes, DType::F32, device);
        let dropout = match s.likelihood.has_dropout() {
            true => Some(head(dropout, zeros()?)?),
            false => None,
        };
        let log_theta = s.likelihood.has_dispersion().then(zeros).transpose()?;
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
                Var::from_vec(start.log_share.clone(), n_genes, device)?,
            )?,
            offsets,
            dropout,
            log_theta,
            likelihood: s.likelihood,
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
        segments: &[Segment],
        design: &Design,
        mode: &mut Mode,
    ) -> CandleResult<Tensor> {
        let x = self.fc.forward(z)?;
        let mut x = mode.normalise(&mut self.norm, &x)?.relu()?;
        for (covariate, module) in self.batch_modules.iter().enumerate() {
            x = module.forward(&x, segments, &design.of_batches(covariate))?;
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
        segments: &[Segment],
        wiring: &Wiring,
        design: &Design,
    ) -> CandleResult<CountParameters> {
        let head = |h: &SparseHead, bias| sparse_decode(hidden, segments, wiring, &h.weights, bias);
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
        if !self.bias_by_segment(design) {
            return Ok(self.scale.bias.as_tensor().clone());
        }
        let bias = CpuValues::of(&self.scale.bias)?;
        let n_genes = bias.len();
        let mut out = bias.repeat(segments.len());
        for (covariate, offsets) in self.offsets.iter().enumerate() {
            let levels = design.of_batches(covariate);
            let offsets = CpuValues::of(offsets)?;
            let n_levels = design.n_levels()[covariate];
            for (out, segment) in out.chunks_exact_mut(n_genes).zip(segments) {
                let of_level = offsets[levels[segment.batch]..].iter().step_by(n_levels);
                for (out, offset) in out.iter_mut().zip(of_level) {
                    *out += offset;
                }
            }
        }
        Tensor::from_vec(out, (segments.len(), n_genes), self.scale.bias.device())
    }

    /// Whether batches differ in the scale head's bias.
    pub fn bias_by_segment(&self, design: &Design) -> bool {
        !self.offsets.is_empty() && design.n_batches() > 1
    }

    /// Sets the offsets of a covariate's levels from `first` on, a vector of genes for each.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn set_offsets(
        &mut self,
        covariate: usize,
        first: usize,
        values: &[Vec<f64>],
    ) -> CandleResult<()> {
        let offsets = &self.offsets[covariate];
        offsets.set(&with_columns(offsets, first, values)?)
    }

    /// The parameters that the loss is computed from, besides the last hidden layer; `scale_bias` is that of
    /// [`Decoder::scale_bias`].
    pub fn loss_tensors<'a>(&'a self, scale_bias: &'a Tensor) -> LossTensors<'a> {
        LossTensors {
            likelihood: self.likelihood,
            scale: HeadTensors {
                weights: self.scale.weights.as_tensor(),
                bias: scale_bias,
            },
            dropout: self.dropout.as_ref().map(|head| HeadTensors {
                weights: head.weights.as_tensor(),
                bias: head.bias.as_tensor(),
            }),
            log_theta: self.log_theta.as_deref(),
        }
    }
}

/// One batchified module per covariate.
pub(super) fn batch_modules(
    s: &Settings,
    design: &Design,
    streams: Streams,
    mut layer: u32,
    device: &Device,
) -> CandleResult<Vec<BatchModule>> {
    let mut modules = Vec::with_capacity(design.n_levels().len());
    for &n_levels in design.n_levels() {
        let n = s.n_hidden;
        modules.push(BatchModule::new(
            n, n_levels, s.beta, streams, layer, device,
        )?);
        layer += n_levels as u32;
    }
    Ok(modules)
}

/// A genes x batches tensor with other columns from `first` on.
pub(super) fn with_columns(
    tensor: &Tensor,
    first: usize,
    columns: &[Vec<f64>],
) -> CandleResult<Tensor> {
    let (n_genes, n) = tensor.dims2()?;
    let mut all = tensor.flatten_all()?.to_vec1::<f32>()?;
    for (column, values) in columns.iter().enumerate() {
        for (of_gene, &value) in all.chunks_exact_mut(n).zip(values) {
            of_gene[first + column] = value as f32;
        }
    }
    Tensor::from_vec(all, (n_genes, n), tensor.device())
}
