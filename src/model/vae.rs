//! The whole model: masks, encoder, decoder, and the loss of a mini-batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor, Var};
use rayon::prelude::*;

use super::decoder::CountParameters;
use super::encoder::{EncoderInput, Posterior};
use super::loss::of_last_layer;
use super::{
    BatchMasks, Decoder, DensePart, Encoder, Level, Loss, Mode, NormPart, Settings, TensorId,
};
use crate::backend::{known_result, Backend, CountLossInput, Cpu, Recording};
use crate::batches::{Design, InitialValues};
use crate::kernels::{Segment, Wiring};
use crate::layers::{
    unwire, wire, BatchModule, BatchNorm, ConnectionMask, Dense, Inheritance, Moves,
    StartingWeights,
};
use crate::sampling::{CellRows, MiniBatch, Purpose, Streams};
use crate::{Error, Result};

/// The sparsely connected variational autoencoder, on the device of a backend.
#[derive(Debug)]
pub struct Vae<B: Backend = Cpu> {
    /// Its settings.
    pub settings: Settings,
    /// The covariates and the batches they make.
    pub design: Design,
    /// q(z | x).
    pub encoder: Encoder,
    /// p(x | z).
    pub decoder: Decoder,
    backend: B,
    wiring: Arc<Wiring>,
    device_wiring: B::Wiring,
}

/// Connections and copies of all tensors of a model at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The connections.
    pub wiring: Arc<Wiring>,
    /// The tensors.
    pub tensors: BTreeMap<TensorId, Tensor>,
}

impl<B: Backend> Vae<B> {
    /// A model with fresh weights and random connections; `initial` says what the counts look like.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(
        settings: &Settings,
        design: &Design,
        initial: &InitialValues,
        backend: &B,
    ) -> Result<Self> {
        let streams = Streams::new(settings.seed);
        let mask = ConnectionMask::random(
            initial.log_share.len(),
            settings.n_hidden,
            settings.adjustment_rules().n_init(settings.n_hidden),
            &mut streams.stream(Purpose::Connections, 0),
        );
        let n_masks = match settings.batch_masks {
            BatchMasks::Separate => design.n_batches(),
            BatchMasks::Shared => 1,
        };
        Vae::with_wiring(
            settings,
            design,
            initial,
            wire(&vec![mask; n_masks]),
            backend,
        )
    }

    /// A model with fresh weights and the given connections.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn with_wiring(
        settings: &Settings,
        design: &Design,
        initial: &InitialValues,
        wiring: Wiring,
        backend: &B,
    ) -> Result<Self> {
        let streams = Streams::new(settings.seed);
        let device = backend.device();
        let start = starting_weights(settings, wiring.n_genes()).encoder;
        let weights = start.all(&wiring);
        let wiring = Arc::new(wiring);
        Ok(Vae {
            encoder: Encoder::new(settings, design, weights, initial, streams, device)?,
            decoder: Decoder::new(settings, design, &wiring, initial, streams, device)?,
            settings: settings.clone(),
            design: design.clone(),
            device_wiring: backend.wiring(&wiring)?,
            backend: backend.clone(),
            wiring,
        })
    }

    /// The device's backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Connections of the encoder's first layer and, mirrored, of the decoder's last.
    pub fn wiring(&self) -> &Arc<Wiring> {
        &self.wiring
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
    pub fn encode(&self, minibatch: &MiniBatch, mode: &mut Mode) -> CandleResult<Posterior> {
        let on_device = self.backend.minibatch(minibatch.clone().into())?;
        let input = self.encoder_input(&on_device, &minibatch.segments);
        self.encoder.forward(&input, &self.design, mode)
    }

    /// What the encoder's batchified modules read, cells x hidden units; nothing random.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encoder_hidden(&self, minibatch: &MiniBatch) -> CandleResult<Tensor> {
        let on_device = self.backend.minibatch(minibatch.clone().into())?;
        let input = self.encoder_input(&on_device, &minibatch.segments);
        self.encoder.hidden(&input, &mut Mode::Evaluate)
    }

    /// Parameters of the counts, given latent values; the segments' batches, by `design`, say what style the cells get.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(
        &self,
        z: &Tensor,
        segments: &[Segment],
        design: &Design,
    ) -> CandleResult<CountParameters> {
        let mode = &mut Mode::Evaluate;
        let hidden = self
            .decoder
            .hidden(&self.backend, z, segments, design, mode)?;
        let wiring = &self.device_wiring;
        self.decoder
            .count_parameters(&self.backend, &hidden, segments, wiring, design)
    }

    /// Logits of `px_scale` of cells that are of no batch, genes x cells, given latent values: no batchified module, and the
    /// mean over the first `n_masks` masks. `bias` is that of [`Decoder::scale_bias_of_no_batch`], or was before batches
    /// were added.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode_to_no_batch(
        &self,
        z: &Tensor,
        bias: &Tensor,
        n_masks: usize,
    ) -> CandleResult<Tensor> {
        let mode = &mut Mode::Evaluate;
        let hidden = self.decoder.hidden_of_no_batch(&self.backend, z, mode)?;
        let with_mask = |mask: usize| {
            let rows = 0..hidden.dim(0)?;
            let all = [Segment { batch: mask, rows }];
            let weights = &self.decoder.scale.weights;
            self.backend
                .decode(&hidden, &all, &self.device_wiring, weights, bias)
        };
        let mut logits = with_mask(0)?;
        for mask in 1..n_masks {
            logits = (logits + with_mask(mask)?)?;
        }
        logits / n_masks as f64
    }

    /// The loss of the cells of a mini-batch, with `noise` (cells x latent dimensions) for the draw of z.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn loss(
        &self,
        cells: &B::Cells,
        noise: &Tensor,
        mode: &mut Mode,
        memory: &mut B::LossMemory,
    ) -> Result<Loss> {
        let (mut loss, recording) =
            Recording::of(|| self.recorded_loss(cells, noise, mode, memory))?;
        loss.recording = recording;
        Ok(loss)
    }

    fn recorded_loss(
        &self,
        cells: &B::Cells,
        noise: &Tensor,
        mode: &mut Mode,
        memory: &mut B::LossMemory,
    ) -> Result<Loss> {
        let on_device = self.backend.minibatch(cells.clone())?;
        let segments = &cells.segments()[..];
        let input = self.encoder_input(&on_device, segments);
        let posterior = self.encoder.forward(&input, &self.design, mode)?;
        let (z, kl) = match (posterior.draw(&self.backend, noise)?, &mode) {
            ((z, kl), Mode::Frozen) => (z.detach(), kl.detach()),
            (drawn, _) => drawn,
        };
        let decoder = &self.decoder;
        let hidden = decoder.hidden(&self.backend, &z, segments, &self.design, mode)?;
        let bias = decoder.scale_bias(segments, &self.design)?;
        let input = CountLossInput {
            likelihood: self.settings.likelihood,
            minibatch: &on_device,
            wiring: &self.device_wiring,
            hidden: &hidden,
            parameters: decoder.loss_tensors(&bias),
            statistics: self.settings.criterion.criterion().statistics(),
        };
        let found = self
            .backend
            .count_loss(&input, mode.wants_gradients(), memory)?;
        let Some(gradients) = found.gradients else {
            return Ok(Loss {
                reconstruction: found.value,
                kl,
                gene_sums: None,
                recording: Recording::default(),
                last_layer: BTreeMap::new(),
            });
        };
        let d_hidden = gradients.hidden.clone();
        let way_back = move |arriving: &Tensor| Ok(vec![d_hidden.broadcast_mul(arriving)?]);
        Ok(Loss {
            reconstruction: known_result(&[&hidden], found.value, way_back)?,
            kl,
            gene_sums: Some(gradients.gene_sums.clone()),
            recording: Recording::default(),
            last_layer: of_last_layer(gradients, decoder, segments, &self.design)?,
        })
    }

    fn encoder_input<'a>(
        &'a self,
        minibatch: &'a B::MiniBatch,
        segments: &'a [Segment],
    ) -> EncoderInput<'a, B> {
        EncoderInput {
            backend: &self.backend,
            minibatch,
            segments,
            wiring: &self.device_wiring,
        }
    }

    /// Puts other connections in place. Weights of connections that stay are kept, the others start afresh. Returns how
    /// the weights moved.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn rewire(&mut self, masks: &[ConnectionMask]) -> Result<Moves> {
        let wiring = Arc::new(wire(masks));
        let inheritance = Inheritance::new(&self.wiring, &wiring);
        let moves = inheritance.on(self.backend.device())?;
        let start = starting_weights(&self.settings, wiring.n_genes());
        let mut layers = vec![
            (&mut self.encoder.weights, start.encoder),
            (&mut self.decoder.scale.weights, start.scale),
        ];
        if let Some(head) = &mut self.decoder.dropout {
            layers.push((&mut head.weights, start.dropout));
        }
        layers.into_par_iter().try_for_each(|(weights, start)| {
            let fresh = start.fresh(&inheritance, &wiring);
            let moved = moves.carry(&self.backend, weights, Some(&fresh))?;
            *weights = Var::from_tensor(&moved)?;
            CandleResult::Ok(())
        })?;
        self.device_wiring = self.backend.wiring(&wiring)?;
        self.wiring = wiring;
        Ok(moves)
    }

    /// Number of effective parameters: weights of existing connections, all heads, normalisation and biases.
    pub fn n_parameters(&self) -> usize {
        self.parameters().iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Every trainable parameter, in a fixed order.
    pub fn parameters(&self) -> Vec<(TensorId, Var)> {
        let mut variables = self.variables();
        variables.retain(|(id, _)| id.is_trained());
        variables
    }

    /// Copies of all that the model is made of.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn snapshot(&self) -> CandleResult<Snapshot> {
        let variables = self.variables().into_iter();
        Ok(Snapshot {
            wiring: self.wiring.clone(),
            tensors: variables
                .map(|(id, variable)| Ok((id, variable.as_tensor().copy()?)))
                .collect::<CandleResult<_>>()?,
        })
    }

    /// Puts the connections and tensors of a snapshot in place.
    ///
    /// # Errors
    /// [`Error::Model`] when a tensor is missing or does not fit.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        for (id, variable) in self.variables() {
            let new = snapshot
                .tensors
                .get(&id)
                .ok_or_else(|| Error::Model(format!("the model lacks its tensor {id}")))?;
            let expected = match id.is_sparse() {
                true => vec![snapshot.wiring.n_slots()],
                false => variable.dims().to_vec(),
            };
            if new.dims() != expected {
                return Err(Error::Model(format!(
                    "the model's tensor {id} has shape {:?} where {expected:?} is needed",
                    new.dims()
                )));
            }
            let new = new.to_device(self.backend.device())?;
            match self.sparse_weights(id) {
                Some(weights) => *weights = Var::from_tensor(&new)?,
                None => variable.set(&new)?,
            }
        }
        self.device_wiring = self.backend.wiring(&snapshot.wiring)?;
        self.wiring = snapshot.wiring.clone();
        Ok(())
    }

    /// A copy of the model on another device.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn to_device<C: Backend>(&self, backend: &C) -> Result<Vae<C>> {
        let initial = InitialValues::flat(self.n_genes(), &self.design);
        let wiring = Wiring::clone(&self.wiring);
        let mut copy = Vae::with_wiring(&self.settings, &self.design, &initial, wiring, backend)?;
        copy.restore(&self.snapshot()?)?;
        Ok(copy)
    }

    /// The weights of which there is one per connection, by their name.
    fn sparse_weights(&mut self, id: TensorId) -> Option<&mut Var> {
        match id {
            TensorId::EncoderWeights => Some(&mut self.encoder.weights),
            TensorId::ScaleWeights => Some(&mut self.decoder.scale.weights),
            TensorId::DropoutWeights => self.decoder.dropout.as_mut().map(|d| &mut d.weights),
            _ => None,
        }
    }

    /// The one list of what the model is made of. The variables are those of the model: what is set in them is set in it.
    pub(crate) fn variables(&self) -> Vec<(TensorId, Var)> {
        use TensorId as Id;
        let (e, d) = (&self.encoder, &self.decoder);
        let mut list = Variables(Vec::new());
        list.add(Id::EncoderWeights, &e.weights);
        list.add(Id::EncoderBias, &e.bias);
        if let Some(shift) = &e.input_shift {
            list.add(Id::InputShift, shift);
        }
        list.norm(Id::EncoderNorm, &e.norm);
        if let Some((layer, norm)) = &e.fc {
            list.dense(Id::EncoderFc, layer);
            list.norm(Id::EncoderFcNorm, norm);
        }
        list.modules(Id::EncoderBatch, &e.batch_modules);
        list.dense(Id::LatentMean, &e.mean);
        list.dense(Id::LatentLogVariance, &e.log_variance);
        list.dense(Id::DecoderFc, &d.fc);
        list.norm(Id::DecoderNorm, &d.norm);
        list.modules(Id::DecoderBatch, &d.batch_modules);
        list.add(Id::ScaleWeights, &d.scale.weights);
        list.add(Id::ScaleBias, &d.scale.bias);
        for (covariate, offsets) in d.offsets.iter().enumerate() {
            list.add(Id::ScaleOffsets(covariate), offsets);
        }
        if let Some(head) = &d.dropout {
            list.add(Id::DropoutWeights, &head.weights);
            list.add(Id::DropoutBias, &head.bias);
        }
        if let Some(log_theta) = &d.log_theta {
            list.add(Id::LogTheta, log_theta);
        }
        list.0
    }
}

/// Starting weights of the three sparsely connected layers.
struct SparseStartingWeights {
    encoder: StartingWeights,
    scale: StartingWeights,
    dropout: StartingWeights,
}

fn starting_weights(settings: &Settings, n_genes: usize) -> SparseStartingWeights {
    let (streams, rules) = (Streams::new(settings.seed), settings.adjustment_rules());
    let n_hidden = settings.n_hidden;
    let [scale, dropout] = Decoder::starting_weights(streams, &rules, n_hidden);
    SparseStartingWeights {
        encoder: Encoder::starting_weights(streams, &rules, n_genes, n_hidden),
        scale,
        dropout,
    }
}

struct Variables(Vec<(TensorId, Var)>);

impl Variables {
    fn add(&mut self, id: TensorId, variable: &Var) {
        self.0.push((id, variable.clone()));
    }

    fn dense(&mut self, id: impl Fn(DensePart) -> TensorId, layer: &Dense) {
        self.add(id(DensePart::Weight), &layer.weight);
        self.add(id(DensePart::Bias), &layer.bias);
    }

    fn norm(&mut self, id: impl Fn(NormPart) -> TensorId, norm: &BatchNorm) {
        self.add(id(NormPart::Gamma), &norm.gamma);
        self.add(id(NormPart::Beta), &norm.beta);
        self.add(id(NormPart::RunningMean), &norm.running_mean);
        self.add(id(NormPart::RunningVar), &norm.running_var);
    }

    fn modules(&mut self, id: impl Fn(Level, DensePart) -> TensorId, modules: &[BatchModule]) {
        for (covariate, module) in modules.iter().enumerate() {
            for (level, layer) in module.sub_modules.iter().enumerate() {
                self.dense(|part| id(Level { covariate, level }, part), layer);
            }
        }
    }
}
