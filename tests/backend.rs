//! The seam for devices holds: a second backend, made of the tensor library's dense operations alone, trains the same model
//! through the same layers, optimiser and loop.

use std::sync::Arc;

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var, D};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Poisson;
use scvae::backend::{
    AdamRule, Backend, BatchStatistics, CountLoss, CountLossGradients, CountLossInput, Cpu,
    HeadGradients, HeadTensors, NormRule, NormTensors,
};
use scvae::batches::Design;
use scvae::counts::{filter, CountMatrix, CountsView};
use scvae::kernels::{GeneStatistic, Likelihood, Segment, Wiring};
use scvae::layers::CriterionName;
use scvae::model::{BatchMasks, Settings};
use scvae::results::embed;
use scvae::sampling::{CellRows, MiniBatch};
use scvae::training::{train, Silent, TrainingCells};
use scvae::Result;

/// Dense masked layers, in whatever place the tensor library computes.
#[derive(Debug, Clone)]
struct Dense {
    device: Device,
}

#[derive(Debug, Clone)]
struct DenseBatch {
    /// Cells x genes, in double precision.
    counts: Tensor,
    /// Cells x genes.
    input: Tensor,
    /// Cells x 1, in double precision.
    log_library: Tensor,
    segments: Arc<Vec<Segment>>,
}

#[derive(Debug, Clone)]
struct DenseWiring {
    n_genes: usize,
    n_hidden: usize,
    /// Where each slot stands among genes x hidden units.
    places: Tensor,
    /// One per mask, genes x hidden units of zeros and ones.
    masks: Vec<Tensor>,
}

impl DenseWiring {
    fn mask(&self, batch: usize) -> &Tensor {
        &self.masks[batch.min(self.masks.len() - 1)]
    }

    /// Genes x hidden units, from one value per slot.
    fn spread(&self, weights: &Tensor) -> CandleResult<Tensor> {
        let zeros = Tensor::zeros(
            self.n_genes * self.n_hidden,
            weights.dtype(),
            weights.device(),
        )?;
        zeros
            .index_add(&self.places, weights, 0)?
            .reshape((self.n_genes, self.n_hidden))
    }

    fn collect(&self, dense: &Tensor) -> CandleResult<Tensor> {
        dense.flatten_all()?.index_select(&self.places, 0)
    }
}

/// Cells x outputs, of each segment's rows by itself.
fn by_segment(
    x: &Tensor,
    segments: &[Segment],
    f: impl Fn(usize, usize, &Tensor) -> CandleResult<Tensor>,
) -> CandleResult<Tensor> {
    let parts = segments.iter().enumerate().map(|(row, s)| {
        let own = x.narrow(0, s.rows.start, s.rows.len())?;
        f(row, s.batch, &own)
    });
    Tensor::cat(&parts.collect::<CandleResult<Vec<_>>>()?, 0)
}

/// Logits of a head, cells x genes.
fn logits(
    hidden: &Tensor,
    segments: &[Segment],
    wiring: &DenseWiring,
    weights: &Tensor,
    bias: &Tensor,
) -> CandleResult<Tensor> {
    let dense = wiring.spread(weights)?;
    by_segment(hidden, segments, |row, batch, x| {
        let mask = wiring.mask(batch).to_dtype(dense.dtype())?;
        let bias = match bias.rank() {
            2 => bias.narrow(0, row, 1)?.squeeze(0)?,
            _ => bias.clone(),
        };
        x.matmul(&(&dense * mask)?.t()?)?.broadcast_add(&bias)
    })
}

fn softplus(x: &Tensor) -> CandleResult<Tensor> {
    (x.abs()?.neg()?.exp()? + 1.0)?.log()? + x.relu()?
}

impl Backend for Dense {
    type Counts = ();
    type Cells = MiniBatch;
    type MiniBatch = DenseBatch;
    type Wiring = DenseWiring;
    type LossMemory = ();

    fn device(&self) -> &Device {
        &self.device
    }

    fn counts(&self, _: &CountsView) -> CandleResult<()> {
        Ok(())
    }

    fn cells(
        &self,
        view: &CountsView,
        (): &(),
        groups: &[Vec<usize>],
        depth: Option<&[f32]>,
    ) -> MiniBatch {
        MiniBatch::gather(view, groups, depth)
    }

    fn minibatch(&self, host: MiniBatch) -> CandleResult<DenseBatch> {
        let shape = (host.n_cells(), host.counts.n_genes());
        let mut tables = [vec![0f32; shape.0 * shape.1], vec![0f32; shape.0 * shape.1]];
        for gene in 0..shape.1 {
            for entry in host.counts.offsets[gene] as usize..host.counts.offsets[gene + 1] as usize
            {
                let at = host.counts.cells[entry] as usize * shape.1 + gene;
                tables[0][at] = host.counts.counts[entry];
                tables[1][at] = host.input[entry];
            }
        }
        let [counts, input] = tables.map(|t| Tensor::from_vec(t, shape, &self.device));
        let log_library = host.log_library.to_vec();
        let log_library = Tensor::from_vec(log_library, (shape.0, 1), &self.device)?;
        Ok(DenseBatch {
            counts: counts?.to_dtype(DType::F64)?,
            input: input?,
            log_library: log_library.to_dtype(DType::F64)?,
            segments: host.segments,
        })
    }

    fn wiring(&self, host: &Arc<Wiring>) -> CandleResult<DenseWiring> {
        let (n_genes, n_hidden) = (host.n_genes(), host.n_hidden);
        let mut places = Vec::with_capacity(host.n_slots());
        for gene in 0..n_genes {
            for slot in host.offsets[gene] as usize..host.offsets[gene + 1] as usize {
                places.push((gene * n_hidden + usize::from(host.hidden[slot])) as u32);
            }
        }
        let masks = host.masks.iter().map(|list| {
            let mut mask = vec![0f32; n_genes * n_hidden];
            for gene in 0..n_genes {
                for &unit in list.gene(gene).0 {
                    mask[gene * n_hidden + usize::from(unit)] = 1.0;
                }
            }
            Tensor::from_vec(mask, (n_genes, n_hidden), &self.device)
        });
        Ok(DenseWiring {
            n_genes,
            n_hidden,
            places: Tensor::from_vec(places, host.n_slots(), &self.device)?,
            masks: masks.collect::<CandleResult<_>>()?,
        })
    }

    fn encode(
        &self,
        m: &DenseBatch,
        wiring: &DenseWiring,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor> {
        let dense = wiring.spread(weights)?;
        let out = by_segment(&m.input, &m.segments, |_, batch, x| {
            x.matmul(&(&dense * wiring.mask(batch))?)
        });
        out?.broadcast_add(bias)
    }

    fn encode_backward(
        &self,
        m: &DenseBatch,
        wiring: &DenseWiring,
        d_out: &Tensor,
    ) -> CandleResult<Tensor> {
        let mut sum = wiring.masks[0].zeros_like()?;
        for s in m.segments.iter() {
            let x = m.input.narrow(0, s.rows.start, s.rows.len())?;
            let d = d_out.narrow(0, s.rows.start, s.rows.len())?;
            sum = (sum + (x.t()?.matmul(&d.contiguous()?)? * wiring.mask(s.batch))?)?;
        }
        wiring.collect(&sum)
    }

    fn shift(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &DenseWiring,
        weights: &Tensor,
    ) -> CandleResult<Tensor> {
        let dense = wiring.spread(weights)?;
        let rows = batches.iter().enumerate().map(|(row, &batch)| {
            let own = shift.narrow(0, row, 1)?;
            own.matmul(&(&dense * wiring.mask(batch))?)
        });
        Tensor::cat(&rows.collect::<CandleResult<Vec<_>>>()?, 0)
    }

    fn shift_backward(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &DenseWiring,
        d_out: &Tensor,
    ) -> CandleResult<Tensor> {
        let mut sum = wiring.masks[0].zeros_like()?;
        for (row, &batch) in batches.iter().enumerate() {
            let (own, d) = (shift.narrow(0, row, 1)?, d_out.narrow(0, row, 1)?);
            sum = (sum + (own.t()?.matmul(&d.contiguous()?)? * wiring.mask(batch))?)?;
        }
        wiring.collect(&sum)
    }

    fn decode(
        &self,
        hidden: &Tensor,
        segments: &[Segment],
        wiring: &DenseWiring,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor> {
        logits(hidden, segments, wiring, weights, bias)?
            .t()?
            .contiguous()
    }

    fn count_loss(
        &self,
        input: &CountLossInput<Self>,
        gradients: bool,
        _: &mut (),
    ) -> Result<CountLoss> {
        // Everything the loss depends on, in double precision, as variables of a computation of its own.
        let double = |t: &Tensor| Var::from_tensor(&t.detach().to_dtype(DType::F64)?);
        let head =
            |h: &HeadTensors| Ok::<_, candle_core::Error>((double(h.weights)?, double(h.bias)?));
        let (m, p) = (input.minibatch, &input.parameters);
        let hidden = double(input.hidden)?;
        let scale = head(&p.scale)?;
        let dropout = p.dropout.as_ref().map(head).transpose()?;
        let log_theta = p.log_theta.map(double).transpose()?;
        let of_head = |(weights, bias): &(Var, Var)| {
            logits(&hidden, &m.segments, input.wiring, weights, bias)
        };
        let shares = candle_nn::ops::log_softmax(&of_head(&scale)?, D::Minus1)?;
        let log_mu = shares.broadcast_add(&m.log_library)?;
        let theta = log_theta.as_ref().map(|t| t.exp()).transpose()?;
        let (Some(log_theta), Some(theta)) = (&log_theta, theta) else {
            unreachable!("not asked for in this test");
        };
        let u = log_mu.broadcast_sub(log_theta)?;
        let counts = &m.counts;
        let mut log_p =
            (softplus(&u)?.broadcast_mul(&theta)?.neg()? - (counts * softplus(&u.neg()?)?)?)?;
        let most = counts.max_all()?.to_scalar::<f64>()? as usize;
        for i in 0..most {
            let factor = ((&theta + i as f64)?.log()? - ((i + 1) as f64).ln())?;
            let above = counts.gt(i as f64)?.to_dtype(DType::F64)?;
            log_p = (log_p + above.broadcast_mul(&factor)?)?;
        }
        let mut mean = log_mu.exp()?;
        if let Some(dropout) = &dropout {
            let logit = of_head(dropout)?;
            let zero = counts.eq(0.0)?.to_dtype(DType::F64)?;
            let extra = (&zero * softplus(&(&logit - &log_p)?)?)?;
            log_p = ((log_p + extra)? - softplus(&logit)?)?;
            mean = (mean * candle_nn::ops::sigmoid(&logit.neg()?)?)?;
        }
        let n_cells = counts.dim(0)? as f64;
        let loss = (log_p.sum_all()? / -n_cells)?;
        let value = loss.detach().to_dtype(DType::F32)?;
        if !gradients {
            return Ok(CountLoss {
                value,
                gradients: None,
            });
        }
        let found = loss.backward()?;
        let single = |v: &Var| -> CandleResult<Tensor> {
            match found.get(v) {
                Some(gradient) => gradient.to_dtype(DType::F32),
                None => v.as_tensor().zeros_like()?.to_dtype(DType::F32),
            }
        };
        let of_head = |(weights, bias): &(Var, Var)| {
            Ok::<_, candle_core::Error>(HeadGradients {
                weights: single(weights)?,
                bias: single(bias)?,
            })
        };
        let (share, mean) = (shares.exp()?.detach(), mean.detach());
        let gene_sums = input.statistics.iter().map(|statistic| {
            let of_cells = match statistic {
                GeneStatistic::SquaredError => (counts - &mean)?.sqr()?,
                GeneStatistic::LogSquaredError => {
                    ((counts + 1.0)?.log()? - (&mean + 1.0)?.log()?)?.sqr()?
                }
                GeneStatistic::Expected => mean.clone(),
                GeneStatistic::SquaredExpected => mean.sqr()?,
                GeneStatistic::Count => counts.clone(),
                GeneStatistic::LogShare => (counts * shares.detach())?,
                GeneStatistic::Rate => share.broadcast_mul(&m.log_library.exp()?)?,
                GeneStatistic::Share | GeneStatistic::ShareVariation => share.clone(),
            };
            let rows = m.segments.iter().map(|s| {
                let own = of_cells.narrow(0, s.rows.start, s.rows.len())?;
                let own = match statistic {
                    GeneStatistic::ShareVariation => {
                        own.broadcast_sub(&own.mean_keepdim(0)?)?.sqr()?
                    }
                    _ => own,
                };
                own.sum_keepdim(0)?.to_dtype(DType::F32)
            });
            Tensor::cat(&rows.collect::<CandleResult<Vec<_>>>()?, 0)
        });
        let gene_sums = Tensor::stack(&gene_sums.collect::<CandleResult<Vec<_>>>()?, 0)?;
        Ok(CountLoss {
            value,
            gradients: Some(CountLossGradients {
                hidden: single(&hidden)?,
                scale: of_head(&scale)?,
                dropout: dropout.as_ref().map(of_head).transpose()?,
                log_theta: Some(single(log_theta)?),
                gene_sums,
            }),
        })
    }

    fn px_scale(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(candle_nn::ops::softmax(logits, 0)?)
    }

    fn normalise(
        &self,
        x: &Tensor,
        norm: NormTensors,
        rule: NormRule,
    ) -> CandleResult<(Tensor, BatchStatistics)> {
        let x = x.detach().to_dtype(DType::F64)?;
        let mean = x.mean(0)?;
        let centred = x.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean(0)?;
        let out = centred
            .broadcast_div(&(&variance + rule.epsilon)?.sqrt()?)?
            .to_dtype(DType::F32)?
            .broadcast_mul(&norm.gamma.detach())?
            .broadcast_add(&norm.beta.detach())?;
        let statistics = BatchStatistics { mean, variance };
        statistics.move_running(norm, rule, x.dim(0)?)?;
        Ok((out, statistics))
    }

    fn normalise_backward(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _: &BatchStatistics,
        epsilon: f64,
        d_out: &Tensor,
    ) -> CandleResult<[Tensor; 3]> {
        let [x, gamma] = [x, gamma].map(|t| Var::from_tensor(&t.detach().to_dtype(DType::F64)?));
        let (x, gamma) = (x?, gamma?);
        let d_out = d_out.to_dtype(DType::F64)?;
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let sd = (centred.sqr()?.mean_keepdim(0)? + epsilon)?.sqrt()?;
        let out = centred.broadcast_div(&sd)?.broadcast_mul(&gamma)?;
        let found = (out * &d_out)?.sum_all()?.backward()?;
        let single = |v: &Var| match found.get(v) {
            Some(gradient) => gradient.to_dtype(DType::F32),
            None => v.as_tensor().zeros_like()?.to_dtype(DType::F32),
        };
        Ok([
            single(&x)?,
            single(&gamma)?,
            d_out.sum(0)?.to_dtype(DType::F32)?,
        ])
    }

    fn adam(
        &self,
        parameter: &Tensor,
        gradient: &Tensor,
        rows: Option<&[usize]>,
        moments: &Tensor,
        rule: AdamRule,
    ) -> CandleResult<()> {
        let all: Vec<usize> = match rows {
            Some(rows) => rows.to_vec(),
            None => vec![0],
        };
        for (place, row) in all.into_iter().enumerate() {
            let own = |t: &Tensor| match rows {
                Some(_) => t.narrow(0, row, 1)?.copy(),
                None => t.copy(),
            };
            let g = match rows {
                Some(_) => gradient.narrow(0, place, 1)?,
                None => gradient.clone(),
            };
            let p = own(&parameter.detach())?;
            let [first, second] = [0, 1].map(|k| moments.narrow(0, k, 1)?.squeeze(0));
            let [beta_1, beta_2] = rule.betas.map(f64::from);
            let g = (g + (&p * f64::from(rule.weight_decay))?)?;
            let first = ((own(&first?)? * beta_1)? + (&g * (1.0 - beta_1))?)?;
            let second = ((own(&second?)? * beta_2)? + (g.sqr()? * (1.0 - beta_2))?)?;
            let root = ((second.sqrt()? / f64::from(rule.root_correction))? + f64::from(rule.eps))?;
            let moved = (p - ((&first / root)? * f64::from(rule.step))?)?;
            parameter.slice_set(&moved, 0, row)?;
            let n = moments.dims().iter().skip(2).product::<usize>().max(1);
            let flat = moments.reshape((2, moments.elem_count() / 2))?;
            let width = moved.elem_count();
            let start = if rows.is_some() { row * n } else { 0 };
            for (k, new) in [first, second].iter().enumerate() {
                let all = flat.narrow(0, k, 1)?.copy()?;
                all.slice_set(&new.reshape((1, width))?, 1, start)?;
                moments.slice_set(&all.reshape([&[1], &moments.dims()[1..]].concat())?, 0, k)?;
            }
        }
        Ok(())
    }
}

#[test]
fn a_second_backend_trains_the_same_model() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (n_cells, n_genes) = (120, 40);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for cell in 0..n_cells {
        for gene in 0..n_genes {
            let mean = if gene % 3 == cell % 3 { 2.0 } else { 0.3 };
            let count: f64 = rng.sample(Poisson::new(mean).unwrap());
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count as f32);
            }
        }
        offsets.push(genes.len());
    }
    let matrix = CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap();
    let view = filter(&matrix, 0, 0).unwrap();
    let batch: Vec<usize> = (0..n_cells).map(|cell| cell / 3 % 3).collect();
    let design = Design::single(3);
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &design,
    };
    for (likelihood, batch_masks, criterion) in [
        (Likelihood::Zinb, BatchMasks::Shared, CriterionName::Mse),
        (Likelihood::Nb, BatchMasks::Separate, CriterionName::Mse),
        (
            Likelihood::Zinb,
            BatchMasks::Shared,
            CriterionName::Dispersion,
        ),
        (
            Likelihood::Nb,
            BatchMasks::Separate,
            CriterionName::Deviance,
        ),
    ] {
        let settings = Settings {
            likelihood,
            batch_masks,
            criterion,
            n_hidden: 16,
            n_latent: 3,
            batch_size: 40,
            max_epochs: Some(6),
            n_epochs_kl_warmup: Some(2),
            adjust_every: 2,
            ..Settings::default()
        };
        let fast = train(cells, &settings, &Cpu, &Silent).unwrap();
        let dense = Dense {
            device: Device::Cpu,
        };
        let slow = train(cells, &settings, &dense, &Silent).unwrap();
        assert!(fast
            .history
            .epochs
            .iter()
            .any(|e| e.connections_changed > 0));
        for (fast, slow) in fast.history.epochs.iter().zip(&slow.history.epochs) {
            for (name, fast, slow) in [
                ("training", fast.elbo_train, slow.elbo_train),
                (
                    "validation",
                    fast.elbo_validation.unwrap(),
                    slow.elbo_validation.unwrap(),
                ),
            ] {
                assert!(
                    (fast - slow).abs() < 1e-4 * slow.abs(),
                    "{likelihood:?}, {name} loss: {fast} instead of {slow}"
                );
            }
        }
        assert_eq!(fast.model.masks(), slow.model.masks());
        // A model that moves to another device embeds cells as it did before.
        let moved = slow.model.to_device(&Cpu).unwrap();
        let [there, here] = [
            embed(&slow.model, &view, &batch, &|| false).unwrap().mean,
            embed(&moved, &view, &batch, &|| false).unwrap().mean,
        ];
        let apart = (&there - &here)
            .iter()
            .fold(0f64, |most, d| most.max(d.abs()));
        assert!(apart < 1e-4, "{apart}");
    }
}
