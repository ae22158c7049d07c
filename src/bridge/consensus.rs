//! What several models of the same counts agree on.

use extendr_api::prelude::*;
use ndarray::Array2;

use super::convert::{self, to_r};
use super::run::all_or_nothing;
use crate::results::ExpressionSpace;
use crate::saved::SavedModel;
use crate::{Error, Result};

/// Places cells by several models together. The first model is returned with its part of their space.
/// `latent` holds each model's latent values of all cells; `trained` are the cells, from 1, that they were trained with.
/// @noRd
#[extendr]
pub fn rs_consensus(
    models: List,
    latent: List,
    trained: Robj,
    threads: i32,
) -> extendr_api::Result<List> {
    let found = || -> Result<_> {
        let bytes = models.values().map(|model| match model.as_raw_slice() {
            Some(bytes) => SavedModel::from_bytes(bytes),
            None => Err(Error::Model("the model must be a raw vector".into())),
        });
        let mut saved: Vec<SavedModel> = bytes.collect::<Result<_>>()?;
        let latent = latent.values().map(|z| convert::array(&z, "latent"));
        let all: Vec<Array2<f64>> = latent.collect::<Result<_>>()?;
        let n_cells = all.first().map_or(0, Array2::nrows);
        let trained = convert::integers(&trained, "trained")?;
        let trained = convert::from_one(trained, n_cells, "trained")?;
        if all.len() != saved.len() || all.iter().any(|z| z.nrows() != n_cells) {
            return Err(Error::Argument("each model needs its latent values".into()));
        }
        let of_trained: Vec<Array2<f64>> = all
            .iter()
            .map(|z| z.select(ndarray::Axis(0), &trained))
            .collect();
        let (spaces, places) = all_or_nothing(threads.max(1) as usize, &().into(), |reporter| {
            let should_stop = || reporter.interrupts() > 0;
            let models = saved.iter().map(|saved| &saved.model);
            let trained: Vec<_> = models.clone().zip(&of_trained).collect();
            let spaces = ExpressionSpace::find_joint(&trained, &should_stop)?;
            let places = models.zip(&all).zip(&spaces);
            let places = places.map(|((model, z), space)| space.place(model, z, &should_stop));
            let places: Vec<Array2<f64>> = places.collect::<Result<_>>()?;
            Ok((spaces, mean(&places)))
        })?;
        let mut first = saved.swap_remove(0);
        first.expression = spaces.into_iter().next();
        Ok((first, places))
    };
    let (saved, places) = found().map_err(to_r)?;
    Ok(list!(
        model = Raw::from_bytes(&saved.to_bytes().map_err(to_r)?),
        places = convert::matrix(&places),
        components = convert::components(&saved).map_err(to_r)?
    ))
}

fn mean(of: &[Array2<f64>]) -> Array2<f64> {
    let sum = of
        .iter()
        .skip(1)
        .fold(of[0].clone(), |sum, next| sum + next);
    sum / of.len() as f64
}

extendr_module! {
    mod consensus;
    fn rs_consensus;
}
