//! Use of trained models.

use extendr_api::prelude::*;

use super::convert::{self, to_r, Counts};
use super::run::all_or_nothing;
use crate::kernels::{negative_binomial, zero_inflated};
use crate::model::Settings;
use crate::results::{embed, reconstruct, Output, Reconstruction};
use crate::saved::SavedModel;
use crate::{Error, Result};

/// Reads a model once for several calls: the functions that take a model's bytes take this, too.
/// @noRd
#[extendr]
pub fn rs_load_model(model: Robj) -> extendr_api::Result<Robj> {
    match convert::model(&model).map_err(to_r)? {
        convert::Model::Loaded(loaded) => Ok(loaded.into()),
        convert::Model::Read(saved) => Ok(ExternalPtr::new(*saved).into()),
    }
}

/// What a model needs to know of new counts: its genes and batches.
/// @noRd
#[extendr]
pub fn rs_model_names(model: Robj) -> extendr_api::Result<List> {
    let saved = convert::model(&model).map_err(to_r)?;
    Ok(list!(
        gene_names = &saved.gene_names,
        batch_names = convert::batch_names(&saved),
        batch_columns = convert::batch_columns(&saved),
        covariates = convert::covariates(&saved),
        library = &saved.library
    ))
}

/// Embeds cells of known batches: in latent space, and in expression space if the model has one.
/// @noRd
#[extendr]
pub fn rs_embed(
    model: Robj,
    counts: Robj,
    gene_position: Robj,
    batch: Robj,
    threads: i32,
) -> extendr_api::Result<List> {
    let embedded = || -> Result<_> {
        let saved = &*convert::model(&model)?;
        let positions = convert::integers(&gene_position, "gene_position")?;
        Counts::from_r(&counts)?.with(|matrix| {
            let codes = convert::batch_codes(&batch, matrix.n_cells())?;
            let all = (0..matrix.n_cells()).collect();
            let view = convert::aligned(matrix, positions, all, saved.gene_names.len())?;
            all_or_nothing(threads.max(1) as usize, &().into(), |reporter| {
                let should_stop = || reporter.interrupts() > 0;
                let embedding = embed(&saved.model, &view, &codes, &should_stop)?;
                let places = saved.places(&embedding.mean, &should_stop)?;
                Ok((embedding, places))
            })
        })
    };
    let (embedding, places) = embedded().map_err(to_r)?;
    Ok(list!(
        latent = convert::matrix(&embedding.mean),
        latent_sd = convert::matrix(&embedding.sd),
        places = convert::matrix_or_null(places.as_ref())
    ))
}

/// Reconstructs chosen genes of chosen cells.
/// @noRd
#[extendr]
#[allow(clippy::too_many_arguments)]
pub fn rs_reconstruct(
    model: Robj,
    counts: Robj,
    gene_position: Robj,
    cells: Robj,
    genes: Robj,
    batch: Robj,
    style: Robj,
    library: Option<f64>,
    what: &str,
    threads: i32,
) -> extendr_api::Result<Robj> {
    let reconstructed = || -> Result<_> {
        let saved = &*convert::model(&model)?;
        let positions = convert::integers(&gene_position, "gene_position")?;
        let genes = convert::from_one(
            convert::integers(&genes, "genes")?,
            saved.gene_names.len(),
            "genes",
        )?;
        // One code, from 0, per covariate; NA: each cell's own.
        let style: Vec<(usize, usize)> = convert::integers(&style, "style")?
            .iter()
            .enumerate()
            .filter_map(|(covariate, &level)| Some((covariate, usize::try_from(level).ok()?)))
            .collect();
        let output = output(what)?;
        Counts::from_r(&counts)?.with(|matrix| {
            let cells = convert::from_one(
                convert::integers(&cells, "cells")?,
                matrix.n_cells(),
                "cells",
            )?;
            let codes = convert::batch_codes(&batch, matrix.n_cells())?;
            let codes: Vec<usize> = cells.iter().map(|&c| codes[c]).collect();
            let view = convert::aligned(matrix, positions, cells, saved.gene_names.len())?;
            let how = Reconstruction {
                genes: &genes,
                batch: &codes,
                style: &style,
                library,
                output,
            };
            all_or_nothing(threads.max(1) as usize, &().into(), |reporter| {
                reconstruct(&saved.model, &view, &how, &|| reporter.interrupts() > 0)
            })
        })
    };
    Ok(convert::matrix(&reconstructed().map_err(to_r)?))
}

fn output(what: &str) -> Result<Output> {
    match what {
        "px_rate" => Ok(Output::Rate),
        "px_scale" => Ok(Output::Scale),
        "px_dropout" => Ok(Output::Dropout),
        other => Err(Error::Argument(format!(
            "what must be px_rate, px_scale or px_dropout, not {other}"
        ))),
    }
}

/// What a saved model says of itself.
/// @noRd
#[extendr]
pub fn rs_model_info(model: Robj) -> extendr_api::Result<List> {
    let saved = convert::model(&model).map_err(to_r)?;
    let log_theta = match &saved.model.decoder.log_theta {
        Some(log_theta) => log_theta.to_vec1::<f32>().map_err(|e| to_r(e.into()))?,
        None => Vec::new(),
    };
    let px_r: Vec<f64> = log_theta.iter().map(|&t| f64::from(t).exp()).collect();
    Ok(list!(
        version = SavedModel::version(),
        gene_names = &saved.gene_names,
        batch_names = convert::batch_names(&saved),
        batch_columns = convert::batch_columns(&saved),
        covariates = convert::covariates(&saved),
        library = &saved.library,
        settings = convert::settings_list(&saved.model.settings).map_err(to_r)?,
        n_parameters = saved.model.n_parameters() as f64,
        px_r = px_r,
        connections = convert::connections(&saved),
        evidence = convert::evidence(saved.evidence.as_ref()),
        components = convert::components(&saved).map_err(to_r)?,
        history = convert::history(&saved.history),
        stopped = convert::stopped(&saved.history),
        epochs = saved.history.epochs.len() as i32,
        best_epoch = saved.history.best_epoch.map(|e| e as i32)
    ))
}

/// Connections of chosen genes in every epoch, genes x epochs; no columns if they were not recorded.
/// @noRd
#[extendr]
pub fn rs_epochs_connections(model: Robj, genes: Robj) -> extendr_api::Result<Robj> {
    let read = || -> Result<_> {
        let saved = &*convert::model(&model)?;
        let n_genes = saved.gene_names.len();
        let genes = convert::from_one(convert::integers(&genes, "genes")?, n_genes, "genes")?;
        let epochs = &saved.history.connections;
        let n = |gene: usize, epoch: usize| i32::from(epochs[epoch][genes[gene]]);
        Ok(RMatrix::new_matrix(genes.len(), epochs.len(), n).into())
    };
    read().map_err(to_r)
}

/// The settings that a fit has when none is given.
/// @noRd
#[extendr]
pub fn rs_default_settings() -> extendr_api::Result<List> {
    convert::settings_list(&Settings::default()).map_err(to_r)
}

/// Log-probability of counts under the model's distribution; arguments of one length.
/// @noRd
#[extendr]
pub fn rs_log_probability(
    counts: &[f64],
    mu: &[f64],
    px_r: &[f64],
    px_dropout: &[f64],
) -> Vec<f64> {
    let inputs = counts.iter().zip(mu).zip(px_r).zip(px_dropout);
    inputs
        .map(|(((&x, &mu), &r), &p)| {
            if p > 0.0 {
                zero_inflated(x, mu.ln(), p.ln() - (-p).ln_1p(), r.ln()).value
            } else {
                negative_binomial(x, mu.ln(), r.ln()).value
            }
        })
        .collect()
}

extendr_module! {
    mod trained;
    fn rs_log_probability;
    fn rs_embed;
    fn rs_reconstruct;
    fn rs_load_model;
    fn rs_model_names;
    fn rs_model_info;
    fn rs_epochs_connections;
    fn rs_default_settings;
}
