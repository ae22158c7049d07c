//! The saved form of a model.

use std::collections::HashMap;

use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::counts::filter;
use scvae::model::Settings;
use scvae::results::embed;
use scvae::sampling::Sampling;
use scvae::saved::SavedModel;
use scvae::Error;

use crate::simulated::{fit, save, settings, simulated};

#[test]
fn saved_models_come_back_as_they_were() {
    let (matrix, batch) = simulated(100, 150, 5);
    let view = filter(&matrix, 3, 1).unwrap();
    for fc_layer in [true, false] {
        for sampling in [Sampling::Replacement, Sampling::Shuffle] {
            let s = Settings {
                fc_layer,
                sampling,
                ..settings()
            };
            let trained = fit(&view, &batch, &s);
            let before = embed(&trained.model, &view, &batch, &|| false).unwrap();
            let saved = save(trained, view.n_genes());
            let bytes = saved.to_bytes().unwrap();
            let back = SavedModel::from_bytes(&bytes).unwrap();
            assert!(
                back.to_bytes().unwrap() == bytes,
                "other bytes after a round trip"
            );
            let mut history = saved.history;
            history.epochs.iter_mut().for_each(|r| r.seconds = None);
            assert_eq!(back.history, history);
            assert_eq!(back.gene_names, saved.gene_names);
            let after = embed(&back.model, &view, &batch, &|| false).unwrap();
            assert_eq!(before.mean, after.mean);
            assert_eq!(before.sd, after.sd);
        }
    }
}

#[test]
fn damaged_and_foreign_models_are_refused() {
    let (matrix, batch) = simulated(60, 80, 6);
    let view = filter(&matrix, 3, 1).unwrap();
    let s = Settings {
        max_epochs: Some(1),
        ..settings()
    };
    let bytes = save(fit(&view, &batch, &s), view.n_genes())
        .to_bytes()
        .unwrap();
    let refused = |bytes: &[u8]| matches!(SavedModel::from_bytes(bytes), Err(Error::Model(_)));
    assert!(refused(&[]));
    assert!(refused(b"not a model at all"));
    for cut in [1, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(refused(&bytes[..cut]), "the first {cut} bytes");
    }
    let mut nameless = save(fit(&view, &batch, &s), view.n_genes());
    nameless.batch_names.pop();
    assert!(refused(&nameless.to_bytes().unwrap()));
    // Every byte counts: of the numbers, of the names, of the header.
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..200 {
        let mut flipped = bytes.clone();
        let at = rng.random_range(0..bytes.len());
        flipped[at] ^= 1 << rng.random_range(0..8);
        assert!(refused(&flipped), "byte {at}");
    }
    let header = r#"{"format":9,"version":"7.1.0"}"#.to_string();
    let meta = HashMap::from([("scvae".to_string(), header)]);
    let none: Vec<(&str, safetensors::tensor::TensorView)> = Vec::new();
    let newer = safetensors::serialize(none, Some(meta)).unwrap();
    let message = SavedModel::from_bytes(&newer).unwrap_err().to_string();
    assert!(
        message.contains("format 9") && message.contains("7.1.0"),
        "{message}"
    );
}
