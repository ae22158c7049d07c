// The models that are frozen: each is trained on the cells of `tests/formats/cells.rs`, written, and beside it what the
// version that wrote it makes of some of the cells. The names say which settings and batches a model has.

fn settings(name: &str) -> Settings {
    let mut settings = serde_json::json!({
        "min_cells": 0, "min_genes": 0, "n_hidden": 12, "n_latent": 3, "max_epochs": 2, "batch_size": 20, "seed": 7,
        "lr": 0.01, "device": "cpu", "batch_masks": "shared"
    });
    let mut set = |name: &str, value: serde_json::Value| settings[name] = value;
    for word in name.split('_') {
        match word {
            "separate" => set("batch_masks", "separate".into()),
            "nb" | "poisson" => {
                set("likelihood", word.into());
                set("fc_layer", false.into());
            }
            // The best epoch and the epochs without a look at the validation cells are in the record.
            "early" => {
                set("early_stopping", true.into());
                set("train_size", 0.7.into());
                set("check_val_every_n_epoch", 2.into());
                set("max_epochs", 5.into());
            }
            "dispersion" => set("batch_dispersion", true.into()),
            "pooled" => set("mask_pooling", 0.5.into()),
            _ => {}
        }
    }
    serde_json::from_value(settings).unwrap()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = std::path::PathBuf::from(arguments.next().unwrap());
    let matrix = matrix();
    let view = filter(&matrix, 0, 0).unwrap();
    for name in arguments {
        let (bytes, model, codes) = written(&view, &name);
        let mut lines = String::from("what,row,column,value\n");
        let mut table = |what: &str, values: ndarray::ArrayView2<f64>| {
            for ((row, column), value) in values.indexed_iter() {
                lines += &format!("{what},{row},{column},{value:.8e}\n");
            }
        };
        let part = |n: usize| ndarray::s![..n, ..];
        table("latent", latent(&model, &view, &codes).slice(part(16)));
        let shares = reconstructed(&model, &view, &codes, Output::Scale).reversed_axes();
        table("px_scale", shares.slice(part(2)));
        if !name.contains("nb") && !name.contains("poisson") {
            let zeros = reconstructed(&model, &view, &codes, Output::Dropout).reversed_axes();
            table("px_dropout", zeros.slice(part(1)));
        }
        let connections = model.connections();
        let connections = ndarray::Array2::from_shape_fn((connections.len(), N_GENES), |(b, g)| {
            connections[b][g] as f64
        });
        table("connections", connections.view());
        let epochs = &model.history.epochs;
        let or_nan = |x: Option<f64>| x.unwrap_or(f64::NAN);
        let record = ndarray::Array2::from_shape_fn((epochs.len(), 9), |(i, column)| {
            let e = &epochs[i];
            [
                e.epoch as f64,
                e.elbo_train,
                e.reconstruction_loss_train,
                e.kl_local_train,
                e.kl_weight,
                or_nan(e.elbo_validation),
                or_nan(e.reconstruction_loss_validation),
                or_nan(e.kl_local_validation),
                e.connections_changed as f64,
            ][column]
        });
        table("history", record.view());
        std::fs::write(folder.join(format!("{name}.safetensors")), bytes).unwrap();
        std::fs::write(folder.join(format!("{name}.csv")), lines).unwrap();
    }
}
