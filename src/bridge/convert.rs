//! Between R's values and ours.

use extendr_api::prelude::*;
use ndarray::Array2;

use super::run::interrupted;
use crate::batches::Design;
use crate::counts::{CountMatrix, CountsView};
use crate::model::{History, Settings};
use crate::results::Evidence;
use crate::saved::{Covariate, SavedModel};
use crate::{Error, Result};

/// An error in the form that the R side understands.
pub fn to_r(error: Error) -> extendr_api::Error {
    extendr_api::Error::Other(format!("{}\u{1f}{error}", error.class()))
}

/// Counts as R holds them: a `dgCMatrix`, genes x cells, or a matrix read from a file.
pub enum Counts {
    /// Slots of a `dgCMatrix`; they keep R's memory alive.
    Dgc {
        offsets: Robj,
        genes: Robj,
        values: Robj,
        n_genes: usize,
    },
    /// What `rs_read_counts` returned.
    File(ExternalPtr<CountMatrix<'static>>),
}

impl Counts {
    pub fn from_r(counts: &Robj) -> Result<Self> {
        if let Ok(file) = ExternalPtr::<CountMatrix<'static>>::try_from(counts) {
            return Ok(Counts::File(file));
        }
        let slot = |name: &str| {
            counts
                .get_attrib(name)
                .ok_or_else(|| Error::Argument("counts must be a dgCMatrix, genes x cells".into()))
        };
        let dim = slot("Dim")?;
        let n_genes = dim.as_integer_slice().and_then(|d| d.first().copied());
        Ok(Counts::Dgc {
            offsets: slot("p")?,
            genes: slot("i")?,
            values: slot("x")?,
            n_genes: n_genes.unwrap_or(0).max(0) as usize,
        })
    }

    /// Calls `work` with the matrix, which borrows R's memory.
    pub fn with<T>(&self, work: impl FnOnce(&CountMatrix) -> Result<T>) -> Result<T> {
        match self {
            Counts::File(matrix) => work(matrix),
            Counts::Dgc {
                offsets,
                genes,
                values,
                n_genes,
            } => {
                let (Some(offsets), Some(genes), Some(values)) = (
                    offsets.as_integer_slice(),
                    genes.as_integer_slice(),
                    values.as_real_slice(),
                ) else {
                    return Err(Error::Argument(
                        "counts must be a dgCMatrix, genes x cells".into(),
                    ));
                };
                let stop = &interrupted;
                work(&CountMatrix::from_dgc(
                    offsets, genes, values, *n_genes, stop,
                )?)
            }
        }
    }
}

/// Batch codes of all cells, from 0; all 0 without batches.
pub fn batch_codes(batch: &Robj, n_cells: usize) -> Result<Vec<usize>> {
    if batch.is_null() {
        return Ok(vec![0; n_cells]);
    }
    checked_codes(integers(batch, "batch")?, n_cells)
}

fn checked_codes(codes: &[i32], n_cells: usize) -> Result<Vec<usize>> {
    if codes.len() != n_cells || codes.iter().any(|&c| c < 0) {
        return Err(Error::Argument(format!(
            "batch must hold one code, 0 or above, for each of the {n_cells} cells; it has {}",
            codes.len()
        )));
    }
    Ok(codes.iter().map(|&c| c as usize).collect())
}

/// The batches of a fit, as R describes them.
pub struct Batches {
    /// No object of R, so that it can be used off R's thread.
    codes: Option<Vec<i32>>,
    pub names: Vec<String>,
    /// Columns of the cells' annotation that they came from, if from such.
    pub columns: Vec<String>,
    pub covariates: Vec<Covariate>,
    pub design: Design,
}

impl Batches {
    /// Each cell's batch, from 0; all 0 without batches.
    pub fn codes(&self, n_cells: usize) -> Result<Vec<usize>> {
        match &self.codes {
            None => Ok(vec![0; n_cells]),
            Some(codes) => checked_codes(codes, n_cells),
        }
    }
}

/// From a list of the cells' `codes`, the batches' `names`, the `columns` that they came from, the `covariates` (a named
/// list of their levels' names) and `levels`, each batch's level of every covariate, from 0, covariate after covariate.
/// An empty list: no batches.
pub fn batches(list: &List) -> Result<Batches> {
    let entry = |name: &str| list.dollar(name).unwrap_or_else(|_| ().into());
    let covariates: Vec<Covariate> = match entry("covariates").as_list() {
        None => Vec::new(),
        Some(covariates) => covariates
            .iter()
            .map(|(name, levels)| Covariate {
                name: name.into(),
                levels: names(&levels),
            })
            .collect(),
    };
    let design = if covariates.is_empty() {
        Design::single(1)
    } else {
        let levels = entry("levels");
        let codes = integers(&levels, "levels")?;
        let n_batches = codes.len() / covariates.len();
        let level = |i: usize| usize::try_from(codes[i]).unwrap_or(usize::MAX);
        let n_covariates = covariates.len();
        let of_batch = |b| {
            (0..n_covariates)
                .map(|c| level(c * n_batches + b))
                .collect()
        };
        let n_levels = covariates.iter().map(|c| c.levels.len()).collect();
        Design::new(n_levels, (0..n_batches).map(of_batch).collect())?
    };
    Ok(Batches {
        codes: match entry("codes") {
            codes if codes.is_null() => None,
            codes => Some(integers(&codes, "batch")?.to_vec()),
        },
        names: names(&entry("names")),
        columns: names(&entry("columns")),
        covariates,
        design,
    })
}

/// The covariates as [`batches`] takes them.
pub fn covariates(saved: &SavedModel) -> Robj {
    if saved.covariates.is_empty() {
        return ().into();
    }
    let pairs = saved
        .covariates
        .iter()
        .map(|c| (c.name.as_str(), Robj::from(&c.levels)));
    List::from_pairs(pairs).into()
}

/// A view of all cells, genes placed as the model numbers them (from 1, `NA` where it has none).
pub fn aligned<'a>(
    matrix: &'a CountMatrix<'a>,
    gene_position: &[i32],
    cells: Vec<usize>,
    n_genes: usize,
) -> Result<CountsView<'a>> {
    let positions: Vec<Option<u32>> = gene_position
        .iter()
        .map(|&p| (p > 0).then(|| p as u32 - 1))
        .collect();
    CountsView::new(matrix, cells, &positions, n_genes)
}

pub fn integers<'a>(value: &'a Robj, name: &str) -> Result<&'a [i32]> {
    value
        .as_integer_slice()
        .ok_or_else(|| Error::Argument(format!("{name} must be an integer vector")))
}

/// Numbers from 1, as R counts, to numbers from 0.
pub fn from_one(numbers: &[i32], n: usize, name: &str) -> Result<Vec<usize>> {
    numbers
        .iter()
        .map(|&i| {
            if i >= 1 && i as usize <= n {
                Ok(i as usize - 1)
            } else {
                Err(Error::Argument(format!(
                    "{name} must be between 1 and {n}, not {i}"
                )))
            }
        })
        .collect()
}

/// Names, or none for `NULL`.
pub fn names(value: &Robj) -> Vec<String> {
    value.as_string_vector().unwrap_or_default()
}

/// Settings from a named list; what is missing or `NULL` takes its default.
pub fn settings(list: &List) -> Result<Settings> {
    settings_from(serde_json::Map::new(), list)
}

/// Settings of a model, but for what a named list says.
pub fn settings_over(known: &Settings, list: &List) -> Result<Settings> {
    let known = serde_json::to_value(known).map_err(|e| Error::Model(e.to_string()))?;
    let fields = known.as_object().cloned().unwrap_or_default();
    settings_from(fields, list)
}

fn settings_from(
    mut fields: serde_json::Map<String, serde_json::Value>,
    list: &List,
) -> Result<Settings> {
    for (name, value) in list.iter() {
        if !value.is_null() {
            fields.insert(name.into(), scalar(name, &value)?);
        }
    }
    let settings: Settings = serde_json::from_value(fields.into())
        .map_err(|e| Error::Argument(format!("settings: {e}")))?;
    settings.check()?;
    Ok(settings)
}

fn scalar(name: &str, value: &Robj) -> Result<serde_json::Value> {
    if let Some(x) = value.as_bool() {
        return Ok(x.into());
    }
    if let Some(x) = value.as_str() {
        return Ok(x.into());
    }
    match value
        .as_real()
        .or_else(|| value.as_integer().map(f64::from))
    {
        // Whole numbers serve counts as well as reals.
        Some(x) if x.fract() == 0.0 && (0.0..9e15).contains(&x) => Ok((x as u64).into()),
        Some(x) if x.is_finite() => Ok(x.into()),
        _ => Err(Error::Argument(format!(
            "{name} must be a single number, string or TRUE/FALSE"
        ))),
    }
}

/// Settings as a named list.
pub fn settings_list(settings: &Settings) -> Result<List> {
    let value = serde_json::to_value(settings).map_err(|e| Error::Model(e.to_string()))?;
    let fields = value.as_object().cloned().unwrap_or_default();
    let pairs = fields.iter().map(|(name, value)| {
        let value: Robj = match value {
            serde_json::Value::Bool(x) => (*x).into(),
            serde_json::Value::Number(x) => x.as_f64().into(),
            serde_json::Value::String(x) => x.as_str().into(),
            _ => ().into(),
        };
        (name.as_str(), value)
    });
    Ok(List::from_pairs(pairs))
}

/// A model as R holds it.
pub enum Model {
    /// Read from its bytes for this call.
    Read(Box<SavedModel>),
    /// What `rs_load_model` returned.
    Loaded(ExternalPtr<SavedModel>),
}

impl std::ops::Deref for Model {
    type Target = SavedModel;

    fn deref(&self) -> &SavedModel {
        match self {
            Model::Read(saved) => saved,
            Model::Loaded(saved) => saved,
        }
    }
}

/// A model that `rs_load_model` returned, or one from its saved bytes.
pub fn model(value: &Robj) -> Result<Model> {
    if let Ok(loaded) = ExternalPtr::<SavedModel>::try_from(value) {
        return Ok(Model::Loaded(loaded));
    }
    let bytes = value
        .as_raw_slice()
        .ok_or_else(|| Error::Model("the model must be a raw vector".into()))?;
    Ok(Model::Read(Box::new(SavedModel::from_bytes(bytes)?)))
}

/// The names of the batches, `NULL` without batches.
pub fn batch_names(saved: &SavedModel) -> Robj {
    names_or_null(&saved.batch_names)
}

/// The columns that the batches came from, `NULL` if from none.
pub fn batch_columns(saved: &SavedModel) -> Robj {
    names_or_null(&saved.batch_columns)
}

/// Names, `NULL` if there are none.
pub fn names_or_null(names: &[String]) -> Robj {
    match names {
        [] => ().into(),
        names => names.into(),
    }
}

pub fn matrix(values: &Array2<f64>) -> Robj {
    let (rows, columns) = values.dim();
    RMatrix::new_matrix(rows, columns, |r, c| values[[r, c]]).into()
}

/// A matrix of numbers from R.
pub fn array(value: &Robj, name: &str) -> Result<Array2<f64>> {
    let matrix = RMatrix::<f64>::try_from(value);
    let matrix = matrix.map_err(|_| Error::Argument(format!("{name} must be a matrix")))?;
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let values = matrix.data();
    Ok(Array2::from_shape_fn((rows, columns), |(row, column)| {
        values[column * rows + row]
    }))
}

/// A matrix, `NULL` if there is none.
pub fn matrix_or_null(values: Option<&Array2<f64>>) -> Robj {
    values.map_or_else(|| ().into(), matrix)
}

/// The components of a model's expression space; `NULL` if it has none.
pub fn components(saved: &SavedModel) -> Result<Robj> {
    let Some(space) = &saved.expression else {
        return Ok(().into());
    };
    Ok(list!(
        loadings = matrix(&space.loadings()?),
        sd = &space.sd,
        total_variance = space.total_variance
    )
    .into())
}

/// Equally long vectors as the columns of a matrix.
pub fn columns(columns: Vec<&[f64]>) -> Robj {
    let n_rows = columns.first().map_or(0, |column| column.len());
    RMatrix::new_matrix(n_rows, columns.len(), |r, c| columns[c][r]).into()
}

/// Connections, genes x batches.
pub fn connections(saved: &SavedModel) -> Robj {
    let of_batch = saved.connections();
    RMatrix::new_matrix(saved.gene_names.len(), of_batch.len(), |g, b| {
        of_batch[b][g] as i32
    })
    .into()
}

/// What a model knows of its genes as a list of equally long vectors; `NULL` if that was not looked at.
pub fn evidence(evidence: Option<&Evidence>) -> Robj {
    let Some(evidence) = evidence else {
        return ().into();
    };
    let columns = evidence.columns();
    List::from_pairs(columns.map(|(name, values)| (name, Robj::from(values)))).into()
}

/// The history as a list of equally long vectors.
pub fn history(history: &History) -> List {
    let column = |f: &dyn Fn(&crate::model::EpochRecord) -> f64| -> Vec<f64> {
        history.epochs.iter().map(f).collect()
    };
    // A validation loss that is no number is as good as none; a model that is read from its file has none.
    let or_na = |x: Option<f64>| x.filter(|x| !x.is_nan()).unwrap_or_else(f64::na);
    list!(
        epoch = column(&|r| r.epoch as f64),
        elbo_train = column(&|r| r.elbo_train),
        reconstruction_loss_train = column(&|r| r.reconstruction_loss_train),
        kl_local_train = column(&|r| r.kl_local_train),
        kl_weight = column(&|r| r.kl_weight),
        elbo_validation = column(&|r| or_na(r.elbo_validation)),
        reconstruction_loss_validation = column(&|r| or_na(r.reconstruction_loss_validation)),
        kl_local_validation = column(&|r| or_na(r.kl_local_validation)),
        connections_changed = column(&|r| r.connections_changed as f64),
        seconds = column(&|r| or_na(r.seconds))
    )
}

/// The word by which R knows how training ended.
pub fn stopped(history: &History) -> &'static str {
    use crate::model::Stopped;
    match history.stopped {
        Stopped::Completed => "completed",
        Stopped::EarlyStopping => "early_stopping",
        Stopped::Interrupted => "interrupted",
        Stopped::Diverged => "diverged",
    }
}

/// Indices as R counts.
pub fn one_based(indices: &[usize]) -> Vec<i32> {
    indices.iter().map(|&i| i as i32 + 1).collect()
}
