//! Early stopping.

use candle_core::{Device, Tensor};
use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::counts::filter;
use scvae::layers::connections_of_genes;
use scvae::model::{Settings, Stopped, Vae};
use scvae::results::embed;
use scvae::training::{EarlyStopping, Silent};
use scvae::Error;

use crate::simulated::{fit, settings, simulated, watched_fit};

#[test]
fn early_stopping_returns_the_best_epoch_s_model() {
    let (matrix, batch) = simulated(90, 60, 8);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        early_stopping: true,
        early_stopping_patience: 5,
        train_size: 0.6,
        // Overfits at once.
        lr: 0.05,
        max_epochs: Some(200),
        ..settings()
    };
    let trained = fit(&view, &batch, &s);
    let history = &trained.history;
    assert_eq!(history.stopped, Stopped::EarlyStopping);
    let best = history.best_epoch.unwrap();
    assert_eq!(history.epochs.len(), best + 5);
    let of = |e: usize| history.epochs[e - 1].elbo_validation.unwrap();
    assert!((1..=history.epochs.len()).all(|e| of(best) <= of(e)));
    let n_epochs = history.connections.len();
    assert_eq!(n_epochs, best + 5);
    let final_connections = connections_of_genes(trained.model.wiring());
    assert_eq!(history.connections[best - 1], final_connections);
    assert_ne!(history.connections[n_epochs - 1], final_connections);
    let again = Settings {
        early_stopping: false,
        max_epochs: Some(best),
        n_epochs_kl_warmup: Some(200),
        ..s.clone()
    };
    let at_best = fit(&view, &batch, &again);
    assert_eq!(
        embed(&trained.model, &view, &batch, &|| false)
            .unwrap()
            .mean,
        embed(&at_best.model, &view, &batch, &|| false)
            .unwrap()
            .mean,
        "stopping early and training no longer are the same"
    );
}

#[test]
fn early_stopping_without_a_validation_cell_is_refused() {
    let (matrix, batch) = simulated(90, 60, 8);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        early_stopping: true,
        train_size: 0.99,
        ..settings()
    };
    let refused = watched_fit(&view, &batch, &s, &Silent);
    assert!(
        matches!(refused, Err(Error::Argument(message)) if message.contains("train_size = 0.99"))
    );
}

#[test]
fn a_loss_that_is_no_number_is_no_progress_and_never_the_best() {
    let design = Design::single(1);
    let initial = InitialValues::flat(20, &design);
    let mut model = Vae::new(&settings(), &design, &initial, &Cpu).unwrap();
    let mark = |model: &Vae, value: f32| {
        let bias = &model.decoder.scale.bias;
        let marked = Tensor::full(value, bias.shape(), &Device::Cpu).unwrap();
        bias.set(&marked).unwrap();
    };
    let mut watch = EarlyStopping::default();
    for (epoch, loss) in [(1, f64::NAN), (2, f64::INFINITY)] {
        watch.observe(epoch, loss, &model).unwrap();
        assert!(watch.best.is_none());
        assert_eq!(watch.checks_without_progress, epoch);
    }
    assert_eq!(watch.restore(&mut model).unwrap(), None);
    mark(&model, 3.0);
    watch.observe(3, 7.0, &model).unwrap();
    assert_eq!(watch.checks_without_progress, 0);
    mark(&model, 4.0);
    for (epoch, loss) in [(4, f64::NAN), (5, 7.0), (6, f64::NAN)] {
        watch.observe(epoch, loss, &model).unwrap();
        assert_eq!(watch.checks_without_progress, epoch - 3);
    }
    assert_eq!(watch.restore(&mut model).unwrap(), Some(3));
    let bias = model.decoder.scale.bias.to_vec1::<f32>().unwrap();
    assert_eq!(bias, [3.0; 20]);
    watch.observe(7, 6.9, &model).unwrap();
    assert_eq!(watch.best.unwrap().epoch, 7);
}
