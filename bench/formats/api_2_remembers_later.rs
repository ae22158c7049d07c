
use scvae::results::{map_batches, remember};

fn remember_cells(trained: &mut Trained, view: &CountsView, batch: &[usize]) {
    let embedding = embed(&trained.model, view, batch).unwrap();
    remember(&mut trained.model, view, batch, &embedding).unwrap();
}

/// The same cells once more, as a batch that is mapped to a model without batches.
fn map_all(saved: &mut SavedModel, view: &CountsView, settings: &Settings) {
    let batch = vec![0; N_CELLS];
    let mapped = map_batches(&saved.model, view, &batch, 1, settings, &Silent).unwrap();
    saved.model = mapped.model;
    saved.history = mapped.history;
    saved.batch_names = vec!["reference".into(), "new".into()];
    saved.library.push(saved.library[0]);
    saved.covariates = vec![Covariate {
        name: "batch".into(),
        levels: saved.batch_names.clone(),
    }];
}
