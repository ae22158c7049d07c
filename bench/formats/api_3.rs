use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::{filter, CountsView};
use scvae::mapping::{map_batches, remember};
use scvae::model::Settings;
use scvae::results::{embed, median_library, reconstruct, Output, Reconstruction};
use scvae::saved::{Checkpoint, Covariate, Fingerprint, SavedModel};
use scvae::training::{Silent, TrainState, Training, TrainingCells};
use std::cell::RefCell;

/// With `checkpoint` in the name, the bytes are those of the checkpoint after the second epoch.
fn written(view: &CountsView, name: &str) -> (Vec<u8>, SavedModel, Vec<usize>) {
    let batches = batches(name);
    let settings = with_criterion(settings(name), name);
    let n_levels = batches.covariates.iter().map(|c| c.1.len()).collect();
    let design = Design::new(n_levels, batches.levels).unwrap();
    let cells = TrainingCells {
        view,
        batch: &batches.codes,
        design: &design,
    };
    let covariates = batches.covariates.into_iter();
    let covariates: Vec<Covariate> =
        covariates.map(|(name, levels)| Covariate { name, levels }).collect();
    let checkpoint = Checkpoint {
        settings: settings.clone(),
        design: design.clone(),
        batch_names: batches.names.clone(),
        batch_columns: Vec::new(),
        covariates: covariates.clone(),
        fingerprint: Fingerprint::of(view, &batches.codes, &gene_names()),
    };
    let kept = RefCell::new(Vec::new());
    let save = |state: &TrainState| {
        kept.borrow_mut().push(checkpoint.to_bytes(state)?);
        Ok(())
    };
    let mut training = Training::new(cells, &settings, &Cpu, &Silent).unwrap();
    training.save_with(1, &save);
    let trained = training.run().unwrap();
    let embedding = embed(&trained.model, view, &batches.codes, &|| false).unwrap();
    let groups = remember(&trained.model, view, &batches.codes, &embedding, &|| false).unwrap();
    let mut saved = SavedModel {
        library: median_library(view, &batches.codes, design.n_batches()),
        cell_groups: (!name.contains("forgets")).then_some(groups),
        model: trained.model,
        gene_names: gene_names(),
        batch_names: batches.names,
        batch_columns: Vec::new(),
        covariates,
        history: trained.history,
    };
    let mut codes = batches.codes;
    if name.contains("mapped") {
        map_all(&mut saved, view, &settings);
        codes = vec![1; N_CELLS];
    }
    let bytes = match name.contains("checkpoint") {
        true => kept.into_inner().swap_remove(1),
        false => saved.to_bytes().unwrap(),
    };
    (bytes, saved, codes)
}

/// The criterion that the name says, if it says one: in format 3 there was no choice.
fn with_criterion(settings: Settings, name: &str) -> Settings {
    let mut fields = serde_json::to_value(settings).unwrap();
    if name.contains("deviance") {
        fields["criterion"] = "deviance".into();
    }
    serde_json::from_value(fields).unwrap()
}

/// The same cells once more, as a batch that is mapped to a model without batches.
fn map_all(saved: &mut SavedModel, view: &CountsView, settings: &Settings) {
    let batch = vec![0; N_CELLS];
    let groups = saved.remembered().unwrap();
    let mapped = map_batches(&saved.model, groups, view, &batch, 1, settings, &Silent).unwrap();
    saved.model = mapped.model;
    saved.history = mapped.history;
    saved.batch_names = vec!["reference".into(), "new".into()];
    saved.library.push(saved.library[0]);
    saved.covariates = vec![Covariate {
        name: "batch".into(),
        levels: saved.batch_names.clone(),
    }];
}

fn latent(saved: &SavedModel, view: &CountsView, batch: &[usize]) -> ndarray::Array2<f64> {
    embed(&saved.model, view, batch, &|| false).unwrap().mean
}

fn reconstructed(
    saved: &SavedModel,
    view: &CountsView,
    batch: &[usize],
    output: Output,
) -> ndarray::Array2<f64> {
    let genes: Vec<usize> = (0..N_GENES).collect();
    let how = Reconstruction {
        genes: &genes,
        batch,
        style: &[],
        library: None,
        output,
    };
    reconstruct(&saved.model, view, &how, &|| false).unwrap()
}
