//! Single steps of the optimiser.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::counts::filter;
use scvae::kernels::Workspace;
use scvae::model::{Dropout, Level, Mode, TensorId, Vae};
use scvae::sampling::{CellRows, MiniBatch};
use scvae::training::Adam;

use crate::simulated::{settings, simulated};

/// Rows of the offsets, and the batches' sub-modules, by batch.
fn of_batches(model: &Vae, n_batches: usize) -> Vec<BTreeMap<TensorId, Vec<f32>>> {
    let mut found = vec![BTreeMap::new(); n_batches];
    for (id, tensor) in model.snapshot().unwrap().tensors {
        match id {
            TensorId::ScaleOffsets(_) => {
                for (b, row) in tensor.to_vec2().unwrap().into_iter().enumerate() {
                    found[b].insert(id, row);
                }
            }
            TensorId::EncoderBatch(Level { level, .. }, _)
            | TensorId::DecoderBatch(Level { level, .. }, _) => {
                let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
                found[level].insert(id, values);
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_step_leaves_batches_that_it_does_not_hold_as_they_are() {
    let (matrix, _) = simulated(60, 50, 41);
    let view = filter(&matrix, 0, 0).unwrap();
    let design = Design::single(3);
    let model = Vae::new(
        &settings(),
        &design,
        &InitialValues::flat(50, &design),
        &Cpu,
    );
    let model = model.unwrap();
    let mut adam = Adam::new(1e-2, 0.01, 1e-2);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut workspace = Workspace::default();
    let mut step = |present: &[usize]| {
        let cells: Vec<Vec<usize>> = (0..3)
            .map(|b| match present.contains(&b) {
                true => (20 * b..20 * (b + 1)).collect(),
                false => Vec::new(),
            })
            .collect();
        let minibatch = MiniBatch::gather(&view, &cells, None);
        let n = minibatch.n_cells() * settings().n_latent;
        let noise: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let shape = (minibatch.n_cells(), settings().n_latent);
        let noise = Tensor::from_vec(noise, shape, &Device::Cpu).unwrap();
        let mut mode = Mode::Train {
            dropout: Dropout::none(),
        };
        let loss = model.loss(&minibatch, &noise, &mut mode, &mut workspace);
        let gradients = loss.unwrap().gradients(1.0).unwrap();
        adam.step(&Cpu, &model.parameters(), &gradients).unwrap();
        of_batches(&model, 3)
    };
    // With moments that would go on moving it.
    let before = step(&[0, 1, 2]);
    assert!(before[1].len() > 4, "offsets and both sub-modules");
    let mut last = before.clone();
    for present in [[0, 2], [2, 0], [0, 2]] {
        let after = step(&present);
        assert_eq!(after[1], before[1], "the absent batch");
        for b in [0, 2] {
            for (id, values) in &after[b] {
                assert_ne!(values, &last[b][id], "{id} of batch {b}");
            }
        }
        last = after;
    }
    assert_ne!(step(&[1])[1], before[1], "once it is back it moves");
}
