//! The gradient of every parameter against finite differences.

use candle_core::{Device, Tensor};
use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::counts::filter;
use scvae::kernels::{Likelihood, Workspace};
use scvae::model::{DensePart, Dropout, Mode, Settings, TensorId, Vae};
use scvae::sampling::MiniBatch;

use crate::simulated::{settings, simulated};

#[test]
fn gradient_of_the_whole_loss() {
    let (matrix, batch) = simulated(12, 14, 1);
    let view = filter(&matrix, 0, 0).unwrap();
    let groups: Vec<Vec<usize>> = (0..2)
        .map(|b| (0..12).filter(|&c| batch[c] == b).collect())
        .collect();
    let minibatch = MiniBatch::gather(&view, &groups, None);
    let noise: Vec<f32> = (0..12 * 2)
        .map(|i| ((i * 37 % 19) as f32 - 9.0) / 9.0)
        .collect();
    let noise = Tensor::from_vec(noise, (12, 2), &Device::Cpu).unwrap();
    for likelihood in [Likelihood::Zinb, Likelihood::Nb] {
        let s = Settings {
            n_hidden: 8,
            n_latent: 2,
            likelihood,
            alpha_init: 0.4,
            ..settings()
        };
        let design = Design::single(2);
        let mut initial = InitialValues::flat(14, &design);
        for (i, x) in initial.input_shift.iter_mut().enumerate() {
            *x = 0.1 * (i % 5) as f32 - 0.2;
        }
        let model = Vae::new(&s, &design, &initial, &Cpu).unwrap();
        let mut mode = Mode::Train {
            dropout: Dropout::none(),
        };
        let mut workspace = Workspace::default();
        let loss = model
            .loss(&minibatch, &noise, &mut mode, &mut workspace)
            .unwrap();
        let gradients = loss.gradients(0.5).unwrap();
        let parameters = model.parameters();
        assert!(parameters.len() > 20);
        let mut directions = ChaCha8Rng::seed_from_u64(1);
        for (id, var) in &parameters {
            let gradient = gradients.of(*id, var).unwrap().dense(var).unwrap();
            let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let start = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            let biases = [
                TensorId::EncoderBias,
                TensorId::EncoderFc(DensePart::Bias),
                TensorId::DecoderFc(DensePart::Bias),
            ];
            if biases.contains(id) {
                assert!(
                    length < 1e-4,
                    "it is undone by the normalisation that follows it"
                );
                continue;
            }
            assert!(length > 1e-4, "{id} has no gradient");
            let along = |direction: &[f32], h: f32| {
                let moved = start.iter().zip(direction).map(|(p, d)| p + h * d);
                let moved = Tensor::from_vec(moved.collect(), var.shape(), &Device::Cpu);
                var.set(&moved.unwrap()).unwrap();
                let mut mode = Mode::Train {
                    dropout: Dropout::none(),
                };
                let mut workspace = Workspace::default();
                let loss = model.loss(&minibatch, &noise, &mut mode, &mut workspace);
                let total = loss.unwrap().total(0.5).unwrap();
                f64::from(total.to_scalar::<f32>().unwrap())
            };
            // Along the gradient itself the difference is largest, and so least disturbed by rounding; but a gradient may
            // be right there and have a part too many, which directions of all kinds show.
            let unit: Vec<f32> = gradient.iter().map(|g| g / length).collect();
            let mut random = || -> Vec<f32> {
                let n = gradient.len();
                let draws = (0..n).map(|_| directions.sample(rand_distr::StandardNormal));
                let draws: Vec<f32> = draws.collect();
                let size = draws.iter().map(|d| d * d).sum::<f32>().sqrt();
                draws.iter().map(|d| d / size).collect()
            };
            let across = [random(), random(), random()];
            for direction in std::iter::once(unit).chain(across) {
                let expected: f64 = gradient
                    .iter()
                    .zip(&direction)
                    .map(|(&g, &d)| f64::from(g) * f64::from(d))
                    .sum();
                let h = 4e-3;
                let (up, down) = (along(&direction, h), along(&direction, -h));
                let difference = (up - down) / f64::from(2.0 * h);
                along(&direction, 0.0);
                let error = (difference - expected).abs();
                assert!(
                    error < 0.03 * f64::from(length) + 5e-3,
                    "{likelihood:?} {id}: {expected} by back-propagation, {difference} by differences"
                );
            }
        }
    }
}
