//! Training steps against the slow and obvious way: the same model as dense, masked layers in double precision, the
//! likelihood written out in tensor operations, gradients by candle alone, Adam as in its paper.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, D};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Poisson, StandardNormal};
use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::counts::{filter, CountMatrix};
use scvae::kernels::Likelihood;
use scvae::kernels::{Segment, Wiring, Workspace};
use scvae::model::{BatchMasks, Dropout, Mode, Settings, Vae};
use scvae::sampling::{CellRows, MiniBatch};
use scvae::training::Adam;

const N_GENES: usize = 60;
const N_CELLS: usize = 90;
const STEPS: usize = 20;
/// Large enough to be noticed in a few steps.
const WEIGHT_DECAY: f64 = 0.1;
const KL_WEIGHT: f64 = 0.7;

fn counts(rng: &mut ChaCha8Rng) -> CountMatrix<'static> {
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for cell in 0..N_CELLS {
        for gene in 0..N_GENES {
            let mean = if gene % 3 == cell % 3 { 1.5 } else { 0.2 };
            let count: f64 = rng.sample(Poisson::new(mean).unwrap());
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count as f32);
            }
        }
        offsets.push(genes.len());
    }
    CountMatrix::from_csr(offsets, genes, values, N_GENES).unwrap()
}

/// The model in double precision, sparse layers as genes x hidden units.
struct Reference {
    vars: BTreeMap<String, Var>,
    /// Per batch, genes x hidden units of zeros and ones.
    masks: Vec<Tensor>,
    moments: BTreeMap<String, [Tensor; 2]>,
    steps: i32,
    settings: Settings,
    design: Design,
}

impl Reference {
    fn of(model: &Vae) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for (id, tensor) in model.snapshot()?.tensors {
            let tensor = if id.is_sparse() {
                dense(model.wiring(), &tensor.to_vec1::<f32>()?)?
            } else {
                tensor.to_dtype(DType::F64)?
            };
            vars.insert(id.to_string(), Var::from_tensor(&tensor)?);
        }
        let masks = (0..model.n_batches()).map(|b| {
            let list = model.wiring().mask(b);
            let mut mask = vec![0.0; model.n_genes() * model.wiring().n_hidden];
            for gene in 0..model.n_genes() {
                for &unit in list.gene(gene).0 {
                    mask[gene * model.wiring().n_hidden + usize::from(unit)] = 1.0;
                }
            }
            Tensor::from_vec(
                mask,
                (model.n_genes(), model.wiring().n_hidden),
                &Device::Cpu,
            )
        });
        Ok(Reference {
            masks: masks.collect::<Result<_>>()?,
            vars,
            moments: BTreeMap::new(),
            steps: 0,
            settings: model.settings.clone(),
            design: model.design.clone(),
        })
    }

    fn var(&self, name: &str) -> &Tensor {
        self.vars[name].as_tensor()
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let weight = self.var(&format!("{name}.weight"));
        x.matmul(&weight.t()?)?
            .broadcast_add(self.var(&format!("{name}.bias")))
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let sd = (centred.sqr()?.mean_keepdim(0)? + 1e-3)?.sqrt()?;
        centred
            .broadcast_div(&sd)?
            .broadcast_mul(self.var(&format!("{name}.gamma")))?
            .broadcast_add(self.var(&format!("{name}.beta")))
    }

    fn of_batches(
        &self,
        x: &Tensor,
        segments: &[Segment],
        f: impl Fn(usize, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let parts = segments.iter();
        let parts = parts.map(|s| f(s.batch, &x.narrow(0, s.rows.start, s.rows.len())?));
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
    }

    fn batch_modules(&self, x: &Tensor, segments: &[Segment], name: &str) -> Result<Tensor> {
        let mut x = x.clone();
        for covariate in 0..self.design.n_levels().len() {
            let levels = self.design.of_batches(covariate);
            x = self.of_batches(&x, segments, |b, x| {
                let y = self.linear(x, &format!("{name}.{covariate}.{}", levels[b]))?;
                x + ((&y - y.tanh()?)? * self.settings.beta)?
            })?;
        }
        Ok(x)
    }

    /// What the levels of a batch add to the scale head's bias.
    fn offsets(&self, batch: usize) -> Result<Tensor> {
        let mut sum = Tensor::zeros(N_GENES, DType::F64, &Device::Cpu)?;
        for covariate in 0..self.design.n_levels().len() {
            let level = self.design.of_batches(covariate)[batch];
            let offsets = self.var(&format!("decoder.scale.offsets.{covariate}"));
            sum = (sum + offsets.narrow(0, level, 1)?.squeeze(0)?)?;
        }
        Ok(sum)
    }

    fn head(&self, x: &Tensor, segments: &[Segment], name: &str) -> Result<Tensor> {
        self.of_batches(x, segments, |b, x| {
            let weights = (self.var(&format!("{name}.weights")) * &self.masks[b])?;
            let mut bias = self.var(&format!("{name}.bias")).clone();
            if name == "decoder.scale" {
                bias = (bias + self.offsets(b)?)?;
            }
            x.matmul(&weights.t()?)?.broadcast_add(&bias)
        })
    }

    /// Reconstruction loss and KL divergence; `counts` and `input` are cells x genes.
    fn loss(
        &self,
        m: &MiniBatch,
        counts: &Tensor,
        input: &Tensor,
        noise: &Tensor,
    ) -> Result<[Tensor; 2]> {
        let segments = &m.segments[..];
        let x = self.of_batches(input, segments, |b, x| {
            let shift = self.var("encoder.input_shift").narrow(0, b, 1)?;
            let x = x.broadcast_sub(&shift)?;
            x.matmul(&(self.var("encoder.sparse.weights") * &self.masks[b])?)
        })?;
        let x = x.broadcast_add(self.var("encoder.sparse.bias"))?;
        let x = self.norm(&x, "encoder.norm")?.relu()?;
        let x = self.linear(&x, "encoder.fc")?;
        let x = self.norm(&x, "encoder.fc.norm")?.relu()?;
        let x = self.batch_modules(&x, segments, "encoder.batch")?;
        let mean = self.linear(&x, "encoder.mean")?;
        let variance = (self.linear(&x, "encoder.log_variance")?.exp()? + 1e-4)?;
        let z = (&mean + (variance.sqrt()? * noise)?)?;
        let x = self.linear(&z, "decoder.fc")?;
        let x = self.norm(&x, "decoder.norm")?.relu()?;
        let x = self.batch_modules(&x, segments, "decoder.batch")?;

        let scale = self.head(&x, segments, "decoder.scale")?;
        let log_library: Vec<f64> = m.log_library.iter().map(|&l| f64::from(l)).collect();
        let log_library = Tensor::from_vec(log_library, (m.n_cells(), 1), &Device::Cpu)?;
        let log_mu = candle_nn::ops::log_softmax(&scale, D::Minus1)?.broadcast_add(&log_library)?;
        let log_theta = self.var("decoder.log_theta");
        let theta = log_theta.exp()?;
        let u = log_mu.broadcast_sub(log_theta)?;
        let mut log_nb =
            (softplus(&u)?.broadcast_mul(&theta)?.neg()? - (counts * softplus(&u.neg()?)?)?)?;
        let most = counts.max_all()?.to_scalar::<f64>()? as usize;
        for i in 0..most {
            // ln Gamma(theta + x) - ln Gamma(theta) - ln x!, one factor after the other.
            let factor = ((&theta + i as f64)?.log()? - ((i + 1) as f64).ln())?;
            let above = counts.gt(i as f64)?.to_dtype(DType::F64)?;
            log_nb = (log_nb + above.broadcast_mul(&factor)?)?;
        }
        let log_probability = if self.settings.likelihood == Likelihood::Zinb {
            let logit = self.head(&x, segments, "decoder.dropout")?;
            let zero = counts.eq(0.0)?.to_dtype(DType::F64)?;
            let extra = (&zero * softplus(&(&logit - &log_nb)?)?)?;
            ((log_nb + extra)? - softplus(&logit)?)?
        } else {
            log_nb
        };
        let reconstruction = (log_probability.sum_all()? / -(m.n_cells() as f64))?;
        let kl = ((mean.sqr()? + &variance)? - (variance.log()? + 1.0)?)?;
        let kl = (kl.sum_all()? * (0.5 / m.n_cells() as f64))?;
        Ok([reconstruction, kl])
    }

    fn adam(&mut self, gradients: &GradStore) -> Result<()> {
        self.steps += 1;
        let s = &self.settings;
        for (name, var) in &self.vars {
            // What a batch's input is reduced by is given, not trained.
            let gradient = gradients.get(var).filter(|_| name != "encoder.input_shift");
            let Some(gradient) = gradient else {
                continue;
            };
            // The weights of the heads are drawn to zero more than others.
            let of_heads = name == "decoder.scale.weights" || name == "decoder.dropout.weights";
            let decay = if of_heads { WEIGHT_DECAY } else { 1e-6 };
            let gradient = (gradient + (var.as_tensor() * decay)?)?;
            let zero = gradient.zeros_like()?;
            let [first, second] = self
                .moments
                .remove(name)
                .unwrap_or_else(|| [zero.clone(), zero]);
            let first = ((first * 0.9)? + (&gradient * 0.1)?)?;
            let second = ((second * 0.999)? + (gradient.sqr()? * 0.001)?)?;
            let mean = (&first / (1.0 - 0.9f64.powi(self.steps)))?;
            let root = (&second / (1.0 - 0.999f64.powi(self.steps)))?.sqrt()?;
            var.set(&(var.as_tensor() - ((mean / (root + s.eps)?)? * s.lr)?)?)?;
            self.moments.insert(name.clone(), [first, second]);
        }
        Ok(())
    }
}

/// `ln(1 + exp(x))`.
fn softplus(x: &Tensor) -> Result<Tensor> {
    (x.abs()?.neg()?.exp()? + 1.0)?.log()? + x.relu()?
}

fn dense(wiring: &Wiring, weights: &[f32]) -> Result<Tensor> {
    let shape = (wiring.n_genes(), wiring.n_hidden);
    let mut out = vec![0.0; shape.0 * shape.1];
    for gene in 0..wiring.n_genes() {
        let slots = wiring.offsets[gene] as usize..wiring.offsets[gene + 1] as usize;
        for (&unit, &weight) in std::iter::zip(&wiring.hidden[slots.clone()], &weights[slots]) {
            out[gene * wiring.n_hidden + usize::from(unit)] = f64::from(weight);
        }
    }
    Tensor::from_vec(out, shape, &Device::Cpu)
}

/// Counts and encoder's input of a mini-batch, cells x genes.
fn densely(m: &MiniBatch) -> Result<[Tensor; 2]> {
    let shape = (m.n_cells(), m.counts.n_genes());
    let mut values = [vec![0.0; shape.0 * shape.1], vec![0.0; shape.0 * shape.1]];
    for gene in 0..shape.1 {
        for entry in m.counts.offsets[gene] as usize..m.counts.offsets[gene + 1] as usize {
            let at = m.counts.cells[entry] as usize * shape.1 + gene;
            values[0][at] = f64::from(m.counts.counts[entry]);
            values[1][at] = f64::from(m.input[entry]);
        }
    }
    let [counts, input] = values.map(|v| Tensor::from_vec(v, shape, &Device::Cpu));
    Ok([counts?, input?])
}

#[test]
fn twenty_steps_match_the_slow_way() {
    for likelihood in [Likelihood::Zinb, Likelihood::Nb] {
        for batch_masks in [BatchMasks::Shared, BatchMasks::Separate] {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let matrix = counts(&mut rng);
            let view = filter(&matrix, 0, 0).unwrap();
            let settings = Settings {
                n_hidden: 24,
                n_latent: 3,
                likelihood,
                batch_masks,
                lr: 1e-2,
                beta: 1.0,
                ..Settings::default()
            };
            // With masks of their own there can be one covariate only.
            let design = match batch_masks {
                BatchMasks::Separate => Design::single(3),
                _ => Design::new(vec![2, 2], vec![vec![0, 0], vec![0, 1], vec![1, 1]]).unwrap(),
            };
            let mut initial = InitialValues::flat(N_GENES, &design);
            let shift = &mut initial.input_shift;
            for values in initial.log_ratios.iter_mut().chain([shift]) {
                values.fill_with(|| rng.random_range(-0.3..0.3));
            }
            let mut model = Vae::new(&settings, &design, &initial, &Cpu).unwrap();
            if batch_masks == BatchMasks::Separate {
                // They start equal: let them part.
                let mut masks = model.masks();
                masks[1] = scvae::layers::ConnectionMask::random(N_GENES, 24, 6, &mut rng);
                model.rewire(&masks).unwrap();
            }
            let mut reference = Reference::of(&model).unwrap();
            let mut adam = Adam::new(settings.lr, settings.eps, WEIGHT_DECAY);
            let mut workspace = Workspace::default();
            let mut first = None;
            for step in 0..STEPS {
                // 70 cells and more: past one tile of the kernels in one of the runs.
                let mut cells = |n: usize| -> Vec<usize> {
                    (0..n).map(|_| rng.random_range(0..N_CELLS)).collect()
                };
                let groups = [cells(70 + step), cells(30), cells(15)];
                let m = MiniBatch::gather(&view, &groups, None);
                let shape = (m.n_cells(), settings.n_latent);
                let noise: Vec<f32> = (0..shape.0 * shape.1)
                    .map(|_| rng.sample(StandardNormal))
                    .collect();
                let noise = Tensor::from_vec(noise, shape, &Device::Cpu).unwrap();

                let mut mode = Mode::Train {
                    dropout: Dropout::none(),
                };
                let loss = model.loss(&m, &noise, &mut mode, &mut workspace).unwrap();
                let gradients = loss.gradients(KL_WEIGHT).unwrap();
                adam.step(&Cpu, &model.parameters(), &gradients).unwrap();

                let [dense_counts, input] = densely(&m).unwrap();
                let noise = noise.to_dtype(DType::F64).unwrap();
                let [reconstruction, kl] =
                    reference.loss(&m, &dense_counts, &input, &noise).unwrap();
                let total = (&reconstruction + (&kl * KL_WEIGHT).unwrap()).unwrap();
                reference.adam(&total.backward().unwrap()).unwrap();

                for (fast, slow) in [(&loss.reconstruction, &reconstruction), (&loss.kl, &kl)] {
                    let fast = f64::from(fast.to_scalar::<f32>().unwrap());
                    let slow = slow.to_scalar::<f64>().unwrap();
                    assert!(
                        (fast - slow).abs() < 1e-4 * slow.abs(),
                        "{likelihood:?} {batch_masks:?} step {step}: {fast} instead of {slow}"
                    );
                }
                let total = total.to_scalar::<f64>().unwrap();
                let start = *first.get_or_insert(total);
                assert!(
                    step + 1 < STEPS || total < 0.97 * start,
                    "nothing was learned"
                );
            }
            // And what was learned is the same: the weights of all layers, not only what they lead to.
            for (id, tensor) in model.snapshot().unwrap().tensors {
                if !id.is_trained() {
                    continue;
                }
                let fast = if id.is_sparse() {
                    dense(model.wiring(), &tensor.to_vec1::<f32>().unwrap()).unwrap()
                } else {
                    tensor.to_dtype(DType::F64).unwrap()
                };
                let apart = (fast - reference.var(&id.to_string()))
                    .unwrap()
                    .abs()
                    .unwrap();
                let apart = apart.max_all().unwrap().to_scalar::<f64>().unwrap();
                assert!(apart < 2e-4, "{likelihood:?} {id}: {apart:e} apart");
            }
        }
    }
}
