//! The whole model: masks, encoder, decoder, and the loss of a mini-batch.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor, Var};

use super::decoder::CountParameters;
use super::encoder::Posterior;
use super::{Anchors, BatchMasks, Decoder, Design, Encoder, Loss, Mode, Settings, Start};
use crate::kernels::{Segment, Wiring, Workspace};
use crate::layers::{inherit, unwire, wire, BatchModule, BatchNorm, ConnectionMask, Dense};
use crate::likelihood::{decode_loss, Target};
use crate::sampling::{MiniBatch, Purpose, Streams};
use crate::{Error, Result};

/// The sparsely connected variational autoencoder.
#[derive(Debug, Clone)]
pub struct Vae {
    /// Its settings.
    pub settings: Settings,
    /// The covariates and the batches they make.
    pub design: Design,
    /// Connections of the encoder's first layer and, mirrored, of the decoder's last.
    pub wiring: Arc<Wiring>,
    /// q(z | x).
    pub encoder: Encoder,
    /// p(x | z).
    pub decoder: Decoder,
    /// What it remembers of its cells.
    pub anchors: Anchors,
}

/// How the weights of a sparsely connected layer moved when its connections changed.
pub struct Rewired {
    /// The parameter before.
    pub name: String,
    /// For each new weight, the old one it continues.
    pub from: Vec<Option<u32>>,
}

impl Vae {
    /// A model with fresh weights and random connections; `start` says what the counts look like.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        settings: &Settings,
        design: &Design,
        start: &Start,
        device: &Device,
    ) -> Result<Self> {
        let streams = Streams::new(settings.seed);
        let mask = ConnectionMask::random(
            start.log_share.len(),
            settings.n_hidden,
            settings.adjustment_rules().n_init(settings.n_hidden),
            &mut streams.stream(Purpose::Connections, 0),
        );
        let n_masks = match settings.batch_masks {
            BatchMasks::Separate => design.n_batches(),
            BatchMasks::Shared => 1,
        };
        let wiring = wire(&vec![mask; n_masks]);
        let weights = Encoder::starting_weights(streams, &wiring).all(&wiring);
        Ok(Vae {
            encoder: Encoder::new(settings, design, weights, start, streams, device)?,
            decoder: Decoder::new(settings, design, &wiring, start, streams, device)?,
            anchors: Anchors::none(start.log_share.len(), settings.n_latent, device)?,
            settings: settings.clone(),
            design: design.clone(),
            wiring: Arc::new(wiring),
        })
    }

    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.wiring.n_genes()
    }

    /// Number of batches; one when there are none.
    pub fn n_batches(&self) -> usize {
        self.design.n_batches()
    }

    /// The masks, one per batch or one for all.
    pub fn masks(&self) -> Vec<ConnectionMask> {
        unwire(&self.wiring)
    }

    /// q(z | x) of a mini-batch.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encode(&mut self, minibatch: &MiniBatch, mode: &mut Mode) -> CandleResult<Posterior> {
        self.encoder
            .forward(minibatch, &self.wiring, &self.design, mode)
    }

    /// Parameters of the counts, given latent values; `design` says what style each segment's batch has.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(
        &mut self,
        z: &Tensor,
        segments: &[Segment],
        design: &Design,
        mode: &mut Mode,
    ) -> CandleResult<CountParameters> {
        let hidden = self.decoder.hidden(z, segments, design, mode)?;
        self.decoder
            .count_parameters(&hidden, segments, &self.wiring, design)
    }

    /// The loss of a mini-batch, with `noise` (cells x latent dimensions) for the draw of z. In training the workspace
    /// holds afterwards what [`Loss::gradients`] needs, and the squared errors per segment and gene.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn loss(
        &mut self,
        minibatch: &MiniBatch,
        noise: &Tensor,
        mode: &mut Mode,
        workspace: &mut Workspace,
    ) -> Result<Loss> {
        let gradients = mode.wants_gradients();
        let posterior = self.encode(minibatch, mode)?;
        let z = posterior.draw(noise)?;
        let decoder = &mut self.decoder;
        let hidden = decoder.hidden(&z, &minibatch.segments, &self.design, mode)?;
        let target = Target {
            counts: &minibatch.counts,
            log_library: &minibatch.log_library,
            segments: &minibatch.segments,
        };
        let bias = self.decoder.scale_bias(&minibatch.segments, &self.design)?;
        let parameters = self.decoder.loss_tensors(&bias);
        Ok(Loss {
            reconstruction: decode_loss(
                &hidden,
                parameters,
                &self.wiring,
                target,
                gradients,
                workspace,
            )?,
            kl: posterior.kl()?.mean(0)?,
            of_segments: self.decoder.bias_by_segment(&self.design).then(|| {
                let batches = minibatch.segments.iter().map(|s| s.batch).collect();
                (batches, self.design.clone())
            }),
        })
    }

    /// Puts other connections in place. Weights of connections that stay are kept, the others start afresh.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn rewire(&mut self, masks: &[ConnectionMask]) -> Result<Vec<Rewired>> {
        let wiring = wire(masks);
        let from = inherit(&self.wiring, &wiring);
        let streams = Streams::new(self.settings.seed);
        let [scale, dropout] = Decoder::starting_weights(streams, &wiring);
        let mut layers = vec![
            (
                ENCODER_WEIGHTS,
                &mut self.encoder.weights,
                Encoder::starting_weights(streams, &wiring),
            ),
            (SCALE_WEIGHTS, &mut self.decoder.scale.weights, scale),
        ];
        if let Some(head) = &mut self.decoder.dropout {
            layers.push((DROPOUT_WEIGHTS, &mut head.weights, dropout));
        }
        let mut rewired = Vec::with_capacity(layers.len());
        for (name, var, start) in layers {
            let weights = start.inherit(&var.to_vec1::<f32>()?, &from, &wiring);
            *var = Var::from_vec(weights, wiring.n_slots(), var.device())?;
            rewired.push(Rewired {
                name: name.into(),
                from: from.clone(),
            });
        }
        self.wiring = Arc::new(wiring);
        Ok(rewired)
    }

    /// Every trainable parameter with its name, in a fixed order.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        let mut handles = self.clone();
        let parts = handles.parts().into_iter();
        parts
            .filter_map(|(name, part)| match part {
                Part::Parameter(var) => Some((name, var.clone())),
                Part::Statistic(_) => None,
            })
            .collect()
    }

    /// Number of effective parameters: weights of existing connections, all heads, normalisation and biases.
    pub fn n_parameters(&self) -> usize {
        self.parameters().iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Copies of every tensor that the model is made of, trainable or not, in a fixed order.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut handles = self.clone();
        let parts = handles.parts().into_iter();
        parts
            .map(|(name, part)| {
                let tensor = match part {
                    Part::Parameter(var) => var.as_tensor().copy()?,
                    Part::Statistic(tensor) => tensor.copy()?,
                };
                Ok((name, tensor))
            })
            .collect()
    }

    /// Puts other connections and tensors in place: those of [`Vae::tensors`], by name.
    ///
    /// # Errors
    /// [`Error::Model`] when a tensor is missing or does not fit.
    pub fn restore(
        &mut self,
        wiring: Arc<Wiring>,
        tensors: &HashMap<String, Tensor>,
    ) -> Result<()> {
        let n_slots = wiring.n_slots();
        self.wiring = wiring;
        for (name, part) in self.parts() {
            let new = tensors
                .get(&name)
                .ok_or_else(|| Error::Model(format!("the model lacks its tensor {name}")))?;
            let expected = match &part {
                _ if SPARSE_WEIGHTS.contains(&name.as_str()) => vec![n_slots],
                Part::Parameter(var) => var.dims().to_vec(),
                Part::Statistic(old) if name.starts_with("anchors.") => {
                    vec![new.dims().first().copied().unwrap_or(0), old.dim(1)?]
                }
                Part::Statistic(old) => old.dims().to_vec(),
            };
            if new.dims() != expected {
                return Err(Error::Model(format!(
                    "the model's tensor {name} has shape {:?} where {expected:?} is needed",
                    new.dims()
                )));
            }
            match part {
                Part::Parameter(var) => *var = Var::from_tensor(new)?,
                Part::Statistic(old) => *old = new.clone(),
            }
        }
        Ok(())
    }

    /// The one list of what the model is made of.
    fn parts(&mut self) -> Vec<(String, Part<'_>)> {
        let (e, d) = (&mut self.encoder, &mut self.decoder);
        let mut list = PartList(Vec::new());
        list.parameter(ENCODER_WEIGHTS, &mut e.weights);
        list.parameter("encoder.sparse.bias", &mut e.bias);
        if let Some(centre) = &mut e.centre {
            list.statistic(CENTRE, centre);
        }
        list.norm("encoder.norm", &mut e.norm);
        if let Some((layer, norm)) = &mut e.fc {
            list.dense("encoder.fc", layer);
            list.norm("encoder.fc.norm", norm);
        }
        list.modules("encoder.batch", &mut e.batch_modules);
        list.dense("encoder.mean", &mut e.mean);
        list.dense("encoder.log_variance", &mut e.log_variance);
        list.dense("decoder.fc", &mut d.fc);
        list.norm("decoder.norm", &mut d.norm);
        list.modules("decoder.batch", &mut d.batch_modules);
        list.parameter(SCALE_WEIGHTS, &mut d.scale.weights);
        list.parameter(SCALE_BIAS, &mut d.scale.bias);
        for (covariate, offsets) in d.offsets.iter_mut().enumerate() {
            list.parameter(offsets_name(covariate), offsets);
        }
        if let Some(head) = &mut d.dropout {
            list.parameter(DROPOUT_WEIGHTS, &mut head.weights);
            list.parameter(DROPOUT_BIAS, &mut head.bias);
        }
        if let Some(log_theta) = &mut d.log_theta {
            list.parameter(LOG_THETA, log_theta);
        }
        list.statistic("anchors.profiles", &mut self.anchors.profiles);
        list.statistic("anchors.inputs", &mut self.anchors.inputs);
        list.statistic("anchors.latent", &mut self.anchors.latent);
        list.statistic("anchors.latent_variance", &mut self.anchors.latent_variance);
        list.0
    }
}

const ENCODER_WEIGHTS: &str = "encoder.sparse.weights";
pub(super) const CENTRE: &str = "encoder.centre";
pub(super) const SCALE_WEIGHTS: &str = "decoder.scale.weights";
pub(super) const SCALE_BIAS: &str = "decoder.scale.bias";
pub(super) const DROPOUT_WEIGHTS: &str = "decoder.dropout.weights";
pub(super) const DROPOUT_BIAS: &str = "decoder.dropout.bias";
pub(super) const LOG_THETA: &str = "decoder.log_theta";
pub(super) const SCALE_OFFSETS: &str = "decoder.scale.offsets";

/// The name of a covariate's offsets of the scale head.
pub(super) fn offsets_name(covariate: usize) -> String {
    format!("{SCALE_OFFSETS}.{covariate}")
}

/// Parameters whose length follows the connections.
const SPARSE_WEIGHTS: [&str; 3] = [ENCODER_WEIGHTS, SCALE_WEIGHTS, DROPOUT_WEIGHTS];

/// A tensor of the model: trained, or collected along the way.
enum Part<'a> {
    Parameter(&'a mut Var),
    Statistic(&'a mut Tensor),
}

struct PartList<'a>(Vec<(String, Part<'a>)>);

impl<'a> PartList<'a> {
    fn parameter(&mut self, name: impl Into<String>, var: &'a mut Var) {
        self.0.push((name.into(), Part::Parameter(var)));
    }

    fn statistic(&mut self, name: impl Into<String>, tensor: &'a mut Tensor) {
        self.0.push((name.into(), Part::Statistic(tensor)));
    }

    fn dense(&mut self, name: &str, layer: &'a mut Dense) {
        self.parameter(format!("{name}.weight"), &mut layer.weight);
        self.parameter(format!("{name}.bias"), &mut layer.bias);
    }

    fn norm(&mut self, name: &str, norm: &'a mut BatchNorm) {
        self.parameter(format!("{name}.gamma"), &mut norm.gamma);
        self.parameter(format!("{name}.beta"), &mut norm.beta);
        for (statistic, tensor) in [
            ("running_mean", &mut norm.running_mean),
            ("running_var", &mut norm.running_var),
        ] {
            self.statistic(format!("{name}.{statistic}"), tensor);
        }
    }

    fn modules(&mut self, name: &str, modules: &'a mut [BatchModule]) {
        for (covariate, module) in modules.iter_mut().enumerate() {
            for (level, layer) in module.sub_modules.iter_mut().enumerate() {
                self.dense(&format!("{name}.{covariate}.{level}"), layer);
            }
        }
    }
}
