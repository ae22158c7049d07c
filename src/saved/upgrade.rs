//! Files that older versions wrote, brought to today's form. `tests/formats` has files of every form, written by the
//! versions that had them.
//!
//! | format | differs from the one after it |
//! |---|---|
//! | 1 | one covariate without a name, `n_batches` in place of a design, batches named even if there is one only; no offsets and no input shift, no medians of total counts (`library` is 0). The first files have their history in the header and their number of threads in the settings, the next ones the seconds as its tenth column |
//! | 2 | no checksum; offsets and input shift (`encoder.centre`) lie gene by gene; cells are remembered as `anchors`, all zero for none. The first ones remember no latent values, which mapping needs today: they count as none. Separate masks of a model without batches stay one mask when batches are mapped to it. Settings that were measured and dropped: `mask_pooling` and `consensus_every` concern the training alone; models with `batch_dispersion` or offsets of the extra zeros are refused |
//! | 3 | its settings have no `criterion`, which was `mse` |

use serde_json::{json, Map, Value};

use super::container::{damaged, Array, Container};
use super::parts::{put_history, units_name, HISTORY};
use crate::model::{EpochRecord, N_COLUMNS};
use crate::{Error, Result};

/// Version of the form of a model's file. Raised when an older reader could not read a newer file.
pub(super) const FORMAT: u32 = 4;

/// A container in today's form.
pub(super) fn upgraded(mut container: Container) -> Result<Container> {
    let mut header: Value = serde_json::from_str(&container.header).map_err(damaged)?;
    let format = header.get("format").and_then(Value::as_u64);
    if format == Some(u64::from(FORMAT)) {
        return Ok(container);
    }
    let fields = header
        .as_object_mut()
        .ok_or_else(|| damaged("its header is no list of fields"))?;
    match format {
        Some(1) => {
            from_1(fields, &mut container)?;
            from_2(fields, &mut container)?;
            from_3(fields);
        }
        Some(2) => {
            from_2(fields, &mut container)?;
            from_3(fields);
        }
        Some(3) => from_3(fields),
        _ => return Err(unknown(format, fields)),
    }
    container.header = header.to_string();
    Ok(container)
}

fn unknown(format: Option<u64>, fields: &Map<String, Value>) -> Error {
    let format = format.map_or("unknown".into(), |f| f.to_string());
    let version = fields.get("version").and_then(Value::as_str);
    let version = version.map_or(String::new(), |v| format!(" by scVAE {v}"));
    Error::Model(format!(
        "the model was saved in format {format}{version}, this version ({}) reads formats 1 to {FORMAT}: use the version \
         of scVAE that saved it, or fit it again",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Modules get the number of their only covariate, which had no name.
fn from_1(fields: &mut Map<String, Value>, container: &mut Container) -> Result<()> {
    let n_batches = fields.remove("n_batches").and_then(|n| n.as_u64());
    let n_batches = n_batches.ok_or_else(|| damaged("its number of batches is missing"))? as usize;
    let names = fields.get("batch_names").cloned().unwrap_or(json!([]));
    let n_names = names.as_array().map_or(0, Vec::len);
    // A single batch could have a name.
    if n_names != n_batches && (n_names > 1 || n_batches > 1) {
        return Err(damaged("its batches do not fit together"));
    }
    let (design, covariates) = match n_batches {
        0 | 1 => {
            fields.insert("batch_names".into(), json!([]));
            (json!({"n_levels": [], "levels": [[]]}), json!([]))
        }
        n => {
            let levels: Vec<[usize; 1]> = (0..n).map(|batch| [batch]).collect();
            let design = json!({"n_levels": [n], "levels": levels});
            (design, json!([{"name": "batch", "levels": names}]))
        }
    };
    fields.insert("design".into(), design);
    fields.insert("covariates".into(), covariates);
    fields.insert("library".into(), json!(vec![0.0; n_batches.max(1)]));
    if let Some(Value::Object(settings)) = fields.get_mut("settings") {
        settings.remove("threads");
        settings.insert("batch_offsets".into(), json!(false));
    }
    for module in ["encoder.batch.", "decoder.batch."] {
        let names = container.arrays.keys().filter(|n| n.starts_with(module));
        for name in names.cloned().collect::<Vec<_>>() {
            if let Some(array) = container.arrays.remove(&name) {
                let of_level = &name[module.len()..];
                container
                    .arrays
                    .insert(format!("{module}0.{of_level}"), array);
            }
        }
    }
    match fields.remove("history") {
        Some(history) => history_from_header(fields, &history, container),
        None => history_without_seconds(container),
    }
}

/// Seconds are no property of a model, and were its history's tenth column.
fn history_without_seconds(container: &mut Container) -> Result<()> {
    let history = container.array(HISTORY)?;
    let &[n_epochs, n_columns] = &history.shape[..] else {
        return Err(damaged("its history is no table"));
    };
    if n_columns == N_COLUMNS + 1 {
        let values = history.numbers::<f64>()?;
        let rows = values.chunks_exact(n_columns);
        let rows: Vec<f64> = rows.flat_map(|row| &row[..N_COLUMNS]).copied().collect();
        container.put(HISTORY.into(), &[n_epochs, N_COLUMNS], &rows);
    }
    Ok(())
}

/// A history as the very first files have it.
fn history_from_header(
    fields: &mut Map<String, Value>,
    history: &Value,
    container: &mut Container,
) -> Result<()> {
    let epochs = history.get("epochs").and_then(Value::as_array);
    let epochs = epochs.ok_or_else(|| damaged("its history is missing"))?;
    let records: Vec<EpochRecord> = epochs
        .iter()
        .map(|record| {
            let number = |name: &str| record.get(name).and_then(Value::as_f64);
            EpochRecord {
                epoch: number("epoch").unwrap_or(0.0) as usize,
                elbo_train: number("elbo_train").unwrap_or(f64::NAN),
                reconstruction_loss_train: number("reconstruction_loss_train").unwrap_or(f64::NAN),
                kl_local_train: number("kl_local_train").unwrap_or(f64::NAN),
                kl_weight: number("kl_weight").unwrap_or(f64::NAN),
                elbo_validation: number("elbo_validation"),
                reconstruction_loss_validation: number("reconstruction_loss_validation"),
                kl_local_validation: number("kl_local_validation"),
                connections_changed: number("connections_changed").unwrap_or(0.0) as usize,
                seconds: None,
            }
        })
        .collect();
    put_history(container, &records);
    for name in ["stopped", "best_epoch"] {
        let value = history.get(name).cloned().unwrap_or(Value::Null);
        fields.insert(name.into(), value);
    }
    Ok(())
}

/// What there is per batch lies batch by batch, and what is remembered of cells has another name.
fn from_2(fields: &mut Map<String, Value>, container: &mut Container) -> Result<()> {
    without_dropped_settings(fields, container)?;
    let names = container.arrays.keys();
    let by_gene =
        names.filter(|n| n.starts_with("decoder.scale.offsets.") || *n == "encoder.centre");
    for name in by_gene.cloned().collect::<Vec<_>>() {
        if let Some(array) = container.arrays.remove(&name) {
            let new = name.replace("encoder.centre", "encoder.input_shift");
            container.arrays.insert(new, transposed(&array)?);
        }
    }
    let parts = ["profiles", "inputs", "latent", "latent_variance"];
    let anchors = parts.map(|part| (part, container.arrays.remove(&format!("anchors.{part}"))));
    let profiles = anchors[0].1.as_ref().map(|array| array.numbers::<f32>());
    let remembers = match profiles {
        Some(profiles) => profiles?.iter().any(|&x| x != 0.0),
        None => false,
    };
    if remembers && anchors.iter().all(|(_, array)| array.is_some()) {
        for (part, array) in anchors {
            if let Some(array) = array {
                container
                    .arrays
                    .insert(format!("cell_groups.{part}"), array);
            }
        }
    }
    Ok(())
}

/// The criterion of the connection adjustment could not be chosen.
fn from_3(fields: &mut Map<String, Value>) {
    fields.insert("format".into(), json!(FORMAT));
    with_first_criterion(fields);
}

/// Gives settings from before there was a choice the criterion that there was.
pub(super) fn with_first_criterion(fields: &mut Map<String, Value>) {
    if let Some(Value::Object(settings)) = fields.get_mut("settings") {
        settings.insert("criterion".into(), json!("mse"));
    }
}

/// Settings that there were for a while only.
fn without_dropped_settings(fields: &mut Map<String, Value>, container: &Container) -> Result<()> {
    let mut names = container.arrays.keys();
    let n_batches = fields.get("design").and_then(|design| design.get("levels"));
    let n_batches = n_batches.and_then(Value::as_array).map_or(0, Vec::len);
    let Some(Value::Object(settings)) = fields.get_mut("settings") else {
        return Err(damaged("its settings are missing"));
    };
    if settings.remove("batch_dispersion") == Some(json!(true)) {
        return Err(dropped("dispersions of each batch (batch_dispersion)"));
    }
    if names.any(|name| name.starts_with("decoder.dropout.offsets.")) {
        return Err(dropped(
            "offsets of the extra zeros (decoder.dropout.offsets)",
        ));
    }
    settings.remove("mask_pooling");
    settings.remove("consensus_every");
    // Batches that came later than the training share its one mask.
    if n_batches > 1 && !container.arrays.contains_key(&units_name("", 1)) {
        settings.insert("batch_masks".into(), json!("shared"));
    }
    Ok(())
}

fn dropped(what: &str) -> Error {
    Error::Model(format!(
        "the model has {what}, which scVAE {} knows no longer: fit it again",
        env!("CARGO_PKG_VERSION")
    ))
}

fn transposed(array: &Array) -> Result<Array> {
    let &[n_rows, n_columns] = &array.shape[..] else {
        return Err(damaged("an array is no table"));
    };
    let values = array.numbers::<f32>()?;
    let columns = (0..n_columns).flat_map(|column| {
        let of_rows = values.iter().skip(column).step_by(n_columns.max(1));
        of_rows.flat_map(|value| value.to_le_bytes())
    });
    Ok(Array {
        dtype: array.dtype,
        shape: vec![n_columns, n_rows],
        bytes: columns.collect(),
    })
}
