//! The gradient of every parameter of a model, on the card and on the processor, whose own are held against finite
//! differences elsewhere.

use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::backend::{Backend, Cpu};
use scvae::batches::{Design, InitialValues};
use scvae::kernels::Likelihood;
use scvae::model::{BatchMasks, Dropout, Mode, Settings, Vae};
use scvae::sampling::{CellRows, MiniBatch};

use crate::card;
use crate::problem::{assert_same, Problem};

fn found<B: Backend>(
    model: &Vae<B>,
    minibatch: &MiniBatch,
    noise: &Tensor,
) -> Vec<(String, Tensor)> {
    let noise = noise.to_device(model.backend().device()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let n_units = minibatch.n_cells() * model.settings.n_hidden;
    let mut mode = Mode::Train {
        dropout: Dropout::draw(0.2, model.encoder.n_dropout_layers(), n_units, &mut rng),
    };
    let cells = B::Cells::from(minibatch.clone());
    let loss = model.loss(&cells, &noise, &mut mode, &mut B::LossMemory::default());
    let loss = loss.unwrap();
    let gradients = loss.gradients(0.7).unwrap();
    let mut all = vec![
        ("reconstruction".to_string(), loss.reconstruction.detach()),
        ("divergence".to_string(), loss.kl.detach()),
    ];
    for (id, parameter) in model.parameters() {
        // The modules of a batch without a cell have none.
        if let Some(gradient) = gradients.of(id, &parameter) {
            all.push((id.to_string(), gradient.dense(&parameter).unwrap()));
        }
    }
    all
}

#[test]
fn every_parameter_has_the_gradient_that_it_has_on_the_processor() {
    // The last has more rows and units than a tile, and batches that have a level in common.
    for (cells, n_hidden, batch_masks, fc_layer) in [
        (&[40][..], 16, BatchMasks::Shared, true),
        (&[20, 0, 25], 16, BatchMasks::Shared, true),
        (&[20, 1, 25], 16, BatchMasks::Separate, false),
        (&[1, 70, 33], 40, BatchMasks::Shared, true),
    ] {
        let mut problem = Problem::new(40, n_hidden, cells, 1);
        let settings = Settings {
            n_hidden,
            n_latent: 3,
            likelihood: Likelihood::Zinb,
            batch_masks,
            fc_layer,
            beta: 1.0,
            ..Settings::default()
        };
        let design = match n_hidden {
            40 => Design::new(vec![2, 2], vec![vec![0, 0], vec![0, 1], vec![1, 1]]).unwrap(),
            _ => Design::single(cells.len()),
        };
        let mut initial = InitialValues::flat(40, &design);
        // What differs between batches must not be zero, or its gradients are not put to the test.
        for table in initial
            .log_ratios
            .iter_mut()
            .chain([&mut initial.input_shift])
        {
            table
                .iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = (i % 7) as f32 * 0.1);
        }
        let model = Vae::new(&settings, &design, &initial, &Cpu).unwrap();
        let there = model.to_device(card()).unwrap();
        let noise = problem.tensor(&[problem.n_cells(), 3], -1.0, 1.0);
        let cpu = found(&model, &problem.minibatch, &noise);
        let on_card = found(&there, &problem.minibatch, &noise);
        let names =
            |all: &[(String, Tensor)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&on_card), names(&cpu));
        for ((name, card), (_, cpu)) in on_card.iter().zip(&cpu) {
            let name = format!("{name}, {batch_masks:?} masks, cells of batches {cells:?}");
            assert_same(card, cpu, 1e-4, &name);
        }
        // The running statistics have moved alike.
        let [here, there] = [model.snapshot().unwrap(), there.snapshot().unwrap()];
        for (id, cpu) in &here.tensors {
            assert_same(
                &there.tensors[id],
                cpu,
                1e-5,
                &format!("{id} after the step"),
            );
        }
    }
}
