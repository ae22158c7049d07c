//! A model's saved form: one safetensors file whose header carries everything else as JSON. Loading runs no code.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::history::N_COLUMNS;
use super::{Design, EpochRecord, History, Settings, Start, Stopped, Vae};
use crate::layers::{unwire, wire, ConnectionMask};
use crate::{Error, Result};

/// Version of the form. Raised when an older reader could not read a newer file.
const FORMAT: u32 = 2;
/// Key of the JSON header in the file.
const HEADER: &str = "scvae";
/// Name of the tensor that holds the history, epochs x columns.
const HISTORY: &str = "history";

/// A model with the names and the history that belong to it.
#[derive(Debug, Clone)]
pub struct SavedModel {
    /// The network.
    pub model: Vae,
    /// Genes, in the model's order.
    pub gene_names: Vec<String>,
    /// Batches, in the model's order; empty when it was trained without.
    pub batch_names: Vec<String>,
    /// Columns of the cells' annotation that the batches came from; empty when from none.
    pub batch_columns: Vec<String>,
    /// Names of the covariates and of their levels, in the order of the model's design.
    pub covariates: Vec<Covariate>,
    /// Median of the cells' total counts in each batch.
    pub library: Vec<f64>,
    /// How it was trained.
    pub history: History,
}

/// A covariate by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covariate {
    /// Its name.
    pub name: String,
    /// Names of its levels.
    pub levels: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    version: String,
    settings: Settings,
    design: Design,
    gene_names: Vec<String>,
    batch_names: Vec<String>,
    #[serde(default)]
    batch_columns: Vec<String>,
    covariates: Vec<Covariate>,
    library: Vec<f64>,
    stopped: Stopped,
    best_epoch: Option<usize>,
}

impl Header {
    /// Whether the parts that concern batches fit together.
    fn check(&self) -> Result<()> {
        let design = self.design.clone().checked().map_err(damaged)?;
        let n_levels = design.n_levels();
        let n_batches = design.n_batches();
        let n_named = if n_levels.is_empty() { 0 } else { n_batches };
        let n_known = self.covariates.iter().map(|c| c.levels.len());
        let fits = self.batch_names.len() == n_named
            && self.library.len() == n_batches
            && n_known.eq(n_levels.iter().copied());
        if !fits {
            return Err(damaged("its batches do not fit together"));
        }
        Ok(())
    }
}

impl SavedModel {
    /// The file's bytes. The same model gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Model`] when the form cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let header = Header {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            settings: self.model.settings.clone(),
            design: self.model.design.clone(),
            gene_names: self.gene_names.clone(),
            batch_names: self.batch_names.clone(),
            batch_columns: self.batch_columns.clone(),
            covariates: self.covariates.clone(),
            library: self.library.clone(),
            stopped: self.history.stopped,
            best_epoch: self.history.best_epoch,
        };
        let header = serde_json::to_string(&header).map_err(unwritable)?;
        let mut data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, tensor) in self.model.tensors()? {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            data.push((name, Dtype::F32, tensor.dims().to_vec(), bytes));
        }
        for (b, list) in self.model.wiring.masks.iter().enumerate() {
            let n_of_gene: Vec<u8> = list
                .offsets
                .windows(2)
                .flat_map(|w| (w[1] - w[0]).to_le_bytes())
                .collect();
            let units: Vec<u8> = list.hidden.iter().flat_map(|u| u.to_le_bytes()).collect();
            let n_genes = list.offsets.len() - 1;
            data.push((counts_name(b), Dtype::U32, vec![n_genes], n_of_gene));
            data.push((units_name(b), Dtype::U16, vec![list.hidden.len()], units));
        }
        // As numbers, not as JSON: text would lose the last bit.
        let epochs = &self.history.epochs;
        let rows = epochs.iter().flat_map(|record| record.to_row());
        let bytes = rows.flat_map(f64::to_le_bytes).collect();
        let shape = vec![epochs.len(), N_COLUMNS];
        data.push((HISTORY.into(), Dtype::F64, shape, bytes));
        let views = data
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(unwritable)?;
                Ok((name.as_str(), view))
            })
            .collect::<Result<Vec<_>>>()?;
        let meta = HashMap::from([(HEADER.to_string(), header)]);
        safetensors::serialize(views, Some(meta)).map_err(unwritable)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`Error::Model`] when they are damaged, not of this kind, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, meta) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let header = meta
            .metadata()
            .as_ref()
            .and_then(|m| m.get(HEADER))
            .ok_or_else(|| {
                Error::Model("this is no saved scVAE model: its header is missing".into())
            })?;
        let fields: serde_json::Value = serde_json::from_str(header).map_err(damaged)?;
        let format = fields.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            let writer = fields.get("version").and_then(serde_json::Value::as_str);
            return Err(Error::Model(format!(
                "the model was saved in format {} by scVAE {}, this is scVAE {}, which reads format {FORMAT}: use the \
                 version that saved it, or fit it again",
                format.map_or("unknown".into(), |f| f.to_string()),
                writer.unwrap_or("of an unknown version"),
                Self::version()
            )));
        }
        let header: Header = serde_json::from_str(header).map_err(damaged)?;
        header.settings.check()?;
        header.check()?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let n_genes = header.gene_names.len();
        let n_hidden = header.settings.n_hidden;
        let n_masks = (0..header.design.n_batches())
            .take_while(|&b| file.tensor(&units_name(b)).is_ok())
            .count();
        if n_masks == 0 || n_genes == 0 {
            return Err(Error::Model(
                "the model is damaged: it has no connections".into(),
            ));
        }
        let masks = (0..n_masks)
            .map(|b| read_mask(&file, b, n_genes, n_hidden))
            .collect::<Result<Vec<_>>>()?;
        let mut tensors = HashMap::new();
        for (name, view) in file.iter() {
            if view.dtype() == Dtype::F32 {
                let values: Vec<f32> = view
                    .data()
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
                let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu)?;
                tensors.insert(name.to_string(), tensor);
            }
        }
        let design = &header.design;
        let start = Start::flat(n_genes, design);
        let mut model = Vae::new(&header.settings, design, &start, &Device::Cpu)?;
        model.restore(Arc::new(wire(&masks)), &tensors)?;
        let a = &model.anchors;
        let n_groups = a.profiles.dim(0)?;
        let others = [&a.inputs, &a.latent, &a.latent_variance];
        if others.iter().any(|other| other.dims()[0] != n_groups) {
            return Err(damaged("its groups of cells do not fit together"));
        }
        Ok(SavedModel {
            model,
            gene_names: header.gene_names,
            batch_names: header.batch_names,
            batch_columns: header.batch_columns,
            covariates: header.covariates,
            library: header.library,
            history: History {
                epochs: read_history(&file)?,
                stopped: header.stopped,
                best_epoch: header.best_epoch,
            },
        })
    }

    /// Connections of each gene, one vector per batch.
    pub fn connections(&self) -> Vec<Vec<usize>> {
        let masks = unwire(&self.model.wiring);
        let of_mask = |m: &ConnectionMask| (0..m.n_genes()).map(|g| m.n_of_gene(g)).collect();
        (0..self.model.n_batches())
            .map(|b| of_mask(&masks[b.min(masks.len() - 1)]))
            .collect()
    }

    /// Version of scVAE that writes this form.
    pub fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

fn counts_name(batch: usize) -> String {
    format!("mask.{batch}.connections_of_gene")
}

fn units_name(batch: usize) -> String {
    format!("mask.{batch}.hidden_unit")
}

fn read_history(file: &SafeTensors) -> Result<Vec<EpochRecord>> {
    let view = file.tensor(HISTORY).map_err(damaged)?;
    let numbers = view.data().chunks_exact(8).map(|b| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(b);
        f64::from_le_bytes(bytes)
    });
    let numbers: Vec<f64> = numbers.collect();
    let rows = numbers.chunks_exact(N_COLUMNS);
    Ok(rows
        .map(|chunk| {
            let mut row = [0.0; N_COLUMNS];
            row.copy_from_slice(chunk);
            EpochRecord::from_row(row)
        })
        .collect())
}

fn read_mask(
    file: &SafeTensors,
    batch: usize,
    n_genes: usize,
    n_hidden: usize,
) -> Result<ConnectionMask> {
    let counts = file.tensor(&counts_name(batch)).map_err(damaged)?;
    let units = file.tensor(&units_name(batch)).map_err(damaged)?;
    let mut units = units
        .data()
        .chunks_exact(2)
        .map(|b| u16::from_le_bytes([b[0], b[1]]));
    let mut mask = ConnectionMask::empty(n_genes, n_hidden);
    if counts.data().len() != 4 * n_genes {
        return Err(Error::Model(
            "the model is damaged: its masks do not fit its genes".into(),
        ));
    }
    for (gene, count) in counts.data().chunks_exact(4).enumerate() {
        for _ in 0..u32::from_le_bytes([count[0], count[1], count[2], count[3]]) {
            match units.next().map(usize::from) {
                Some(unit) if unit < n_hidden => mask.connect(gene, unit),
                _ => {
                    return Err(Error::Model(
                        "the model is damaged: a connection leads nowhere".into(),
                    ))
                }
            }
        }
    }
    Ok(mask)
}

fn damaged(e: impl std::fmt::Display) -> Error {
    Error::Model(format!(
        "the saved model is damaged or not one of scVAE's: {e}"
    ))
}

fn unwritable(e: impl std::fmt::Display) -> Error {
    Error::Model(format!("the model cannot be written: {e}"))
}
