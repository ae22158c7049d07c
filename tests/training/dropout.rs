//! Dropout of hidden units: how many are silenced, when, and that it can be repeated.

use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::backend::{Backend, Cpu};
use scvae::batches::{Design, InitialValues};
use scvae::counts::filter;
use scvae::model::{Dropout, EncoderInput, Mode, Settings, Vae};
use scvae::results::embed;
use scvae::sampling::MiniBatch;

use crate::simulated::{fit, settings, simulated};

fn model(n_genes: usize, dropout_rate: f64) -> Vae {
    let s = Settings {
        dropout_rate,
        fc_layer: false,
        n_hidden: 64,
        ..settings()
    };
    let design = Design::single(1);
    Vae::new(&s, &design, &InitialValues::flat(n_genes, &design), &Cpu).unwrap()
}

/// What the encoder's batchified modules read.
fn hidden(model: &Vae, minibatch: &MiniBatch, mode: &mut Mode) -> Vec<f32> {
    let input = EncoderInput {
        backend: &Cpu,
        minibatch: &Cpu.minibatch(minibatch.clone()).unwrap(),
        segments: &minibatch.segments,
        wiring: &Cpu.wiring(model.wiring()).unwrap(),
    };
    let x = model.encoder.hidden(&input, mode).unwrap();
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_share_of_hidden_units_is_silenced_and_the_others_make_up_for_it() {
    let (matrix, _) = simulated(200, 80, 31);
    let view = filter(&matrix, 0, 0).unwrap();
    let minibatch = MiniBatch::gather(&view, &[(0..200).collect()], None);
    let model = model(80, 0.0);
    let with = |dropout_rate: f64, seed: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_units = 200 * model.settings.n_hidden;
        let dropout = Dropout::draw(dropout_rate, 2, n_units, &mut rng);
        hidden(&model, &minibatch, &mut Mode::Train { dropout })
    };
    let whole = with(0.0, 1);
    for rate in [0.1, 0.3, 0.75] {
        let found = with(rate, 1);
        let active = whole.iter().zip(&found).filter(|(&before, _)| before > 0.0);
        let (mut n, mut silenced) = (0.0, 0.0);
        for (&before, &after) in active {
            n += 1.0;
            if after == 0.0 {
                silenced += 1.0;
            } else {
                let factor = f64::from(after / before);
                assert!((factor * (1.0 - rate) - 1.0).abs() < 1e-5, "{factor}");
            }
        }
        assert!(n > 3000.0, "{n} units are active");
        let share: f64 = silenced / n;
        assert!((share - rate).abs() < 0.03, "{share} instead of {rate}");
        assert_eq!(found, with(rate, 1), "the same stream");
        assert_ne!(found, with(rate, 2), "another stream");
    }
}

#[test]
fn nothing_is_silenced_in_use() {
    let (matrix, _) = simulated(60, 80, 32);
    let view = filter(&matrix, 0, 0).unwrap();
    let minibatch = MiniBatch::gather(&view, &[(0..60).collect()], None);
    let (without, with) = (model(80, 0.0), model(80, 0.9));
    for mode in [|| Mode::Evaluate, || Mode::Frozen] {
        let expected = hidden(&without, &minibatch, &mut mode());
        assert_eq!(hidden(&with, &minibatch, &mut mode()), expected);
    }
}

#[test]
fn a_training_with_dropout_can_be_repeated() {
    let (matrix, batch) = simulated(90, 60, 33);
    let view = filter(&matrix, 3, 1).unwrap();
    let z = |dropout_rate: f64, threads: usize| {
        let s = Settings {
            dropout_rate,
            threads,
            ..settings()
        };
        let trained = fit(&view, &batch, &s);
        embed(&trained.model, &view, &batch, &|| false)
            .unwrap()
            .mean
    };
    let first = z(0.3, 1);
    assert_eq!(first, z(0.3, 2));
    assert_ne!(first, z(0.0, 1), "the setting reaches the training");
}
