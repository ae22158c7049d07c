//! New batches for a trained model.

use extendr_api::prelude::*;
use ndarray::Array2;

use super::convert::{self, to_r, Counts};
use super::run::{all_or_nothing, FitMonitor, FitPlace};
use crate::mapping::map_batches;
use crate::model::{History, Vae};
use crate::results::{embed, median_library, Embedding};
use crate::saved::{Covariate, SavedModel};
use crate::training::Monitor;
use crate::Result;

/// Name of the batch that a model without batches becomes.
const REFERENCE: &str = "reference";

struct Mapped {
    bytes: Vec<u8>,
    embedding: Embedding,
    places: Option<Array2<f64>>,
}

/// Adds new batches to a model, trains what is theirs, and embeds their cells. As it takes seconds, Ctrl-C leaves nothing.
/// @noRd
#[extendr]
pub fn rs_map(
    model: Robj,
    counts: Robj,
    gene_position: Robj,
    batch: Robj,
    batch_names: Robj,
    settings: List,
    progress: Robj,
) -> extendr_api::Result<List> {
    let mapped = || -> Result<Mapped> {
        let known = &*convert::model(&model)?;
        let names = convert::names(&batch_names);
        let positions = convert::integers(&gene_position, "gene_position")?;
        let settings = convert::settings_over(&known.model.settings, &settings)?;
        Counts::from_r(&counts)?.with(|matrix| {
            let codes = convert::batch_codes(&batch, matrix.n_cells())?;
            let all = (0..matrix.n_cells()).collect();
            let view = convert::aligned(matrix, positions, all, known.gene_names.len())?;
            all_or_nothing(settings.threads, &progress, |reporter| {
                let place = FitPlace::ALONE;
                let monitor = FitMonitor { reporter, place };
                let trained = map_batches(
                    &known.model,
                    known.remembered()?,
                    &view,
                    &codes,
                    names.len(),
                    &settings,
                    &monitor,
                )?;
                let first = known.model.n_batches();
                let codes: Vec<usize> = codes.iter().map(|b| first + b).collect();
                let n_batches = trained.model.n_batches();
                let mut library = known.library.clone();
                library.extend(&median_library(&view, &codes, n_batches)[first..]);
                let embedding = embed(&trained.model, &view, &codes, &|| monitor.should_stop())?;
                let saved = joined(known, &names, library, trained.model, trained.history);
                Ok(Mapped {
                    bytes: saved.to_bytes()?,
                    places: saved.places(&embedding.mean, &|| monitor.should_stop())?,
                    embedding,
                })
            })
        })
    };
    let mapped = mapped().map_err(to_r)?;
    Ok(list!(
        model = Raw::from_bytes(&mapped.bytes),
        latent = convert::matrix(&mapped.embedding.mean),
        latent_sd = convert::matrix(&mapped.embedding.sd),
        places = convert::matrix_or_null(mapped.places.as_ref())
    ))
}

/// The model that knows the old and the new batches; its history is that of the mapping.
fn joined(
    known: &SavedModel,
    names: &[String],
    library: Vec<f64>,
    model: Vae,
    history: History,
) -> SavedModel {
    let mut batch_names = known.batch_names.clone();
    let mut covariates = known.covariates.clone();
    if batch_names.is_empty() {
        batch_names.push(REFERENCE.into());
        covariates.push(Covariate {
            name: "batch".into(),
            levels: batch_names.clone(),
        });
    }
    batch_names.extend_from_slice(names);
    covariates[0].levels.extend_from_slice(names);
    SavedModel {
        model,
        cell_groups: known.cell_groups.clone(),
        gene_names: known.gene_names.clone(),
        batch_names,
        batch_columns: known.batch_columns.clone(),
        covariates,
        library,
        history,
        evidence: known.evidence.clone(),
        expression: known.expression.clone(),
    }
}

extendr_module! {
    mod map;
    fn rs_map;
}
