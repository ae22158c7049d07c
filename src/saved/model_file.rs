//! The file of a trained model.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::container::{damaged, unwritable, Container};
use super::parts::{self, check_size, put_connections, put_history, put_snapshot, put_tensor};
use super::upgrade::{upgraded, FORMAT};
use super::{expression, files};
use crate::backend::Cpu;
use crate::batches::{Design, InitialValues};
use crate::kernels::ConnectionList;
use crate::mapping::CellGroups;
use crate::model::{BatchMasks, History, Settings, Snapshot, Stopped, TensorId, Vae};
use crate::results::{Evidence, ExpressionSpace};
use crate::{Error, Result, Stop};

/// A model with the names and the history that belong to it.
///
/// ```
/// # use scvae::backend::Cpu;
/// # use scvae::batches::Design;
/// # use scvae::counts::filter;
/// # use scvae::model::Settings;
/// # use scvae::training::{train, Silent, TrainingCells};
/// use scvae::results::median_library;
/// use scvae::saved::{Covariate, SavedModel};
///
/// # let values = (0..40 * 12).map(|i| (i * i % 7 * ((i / 12 + i) % 2)) as f32).collect();
/// # let genes = (0..40).flat_map(|_cell| 0..12).collect();
/// # let offsets = (0..=40).map(|cell| 12 * cell).collect();
/// # let matrix = scvae::counts::CountMatrix::from_csr(offsets, genes, values, 12)?;
/// # let view = filter(&matrix, 3, 2)?;
/// # let batch: Vec<usize> = (0..view.n_cells()).map(|cell| cell / 2 % 2).collect();
/// # let cells = TrainingCells { view: &view, batch: &batch, design: &Design::single(2) };
/// # let settings = Settings { n_hidden: 16, n_latent: 2, max_epochs: Some(2), ..Settings::default() };
/// let trained = train(cells, &settings, &Cpu, &Silent)?;
/// let batch_names = vec!["first".to_string(), "second".to_string()];
/// let saved = SavedModel {
///     model: trained.model,
///     cell_groups: None,
///     gene_names: view.genes().iter().map(|gene| format!("gene{gene}")).collect(),
///     covariates: vec![Covariate { name: "batch".into(), levels: batch_names.clone() }],
///     batch_names,
///     batch_columns: Vec::new(),
///     library: median_library(&view, &batch, 2),
///     history: trained.history,
///     evidence: None,
///     expression: None,
/// };
/// let bytes = saved.to_bytes()?;
/// let back = SavedModel::from_bytes(&bytes)?;
/// assert_eq!(back.gene_names, saved.gene_names);
/// assert_eq!(back.to_bytes()?, bytes);
/// # Ok::<(), scvae::Error>(())
/// ```
#[derive(Debug)]
pub struct SavedModel {
    /// The network.
    pub model: Vae,
    /// What is remembered of its cells.
    pub cell_groups: Option<CellGroups>,
    /// Genes, in the model's order.
    pub gene_names: Vec<String>,
    /// Batches, in the model's order; empty when it was trained without.
    pub batch_names: Vec<String>,
    /// Columns of the cells' annotation that the batches came from, if they did.
    pub batch_columns: Vec<String>,
    /// Names of the covariates and of their levels, in the order of the model's design.
    pub covariates: Vec<Covariate>,
    /// Median of the cells' total counts in each batch; 0 where it is not known.
    pub library: Vec<f64>,
    /// How it was trained.
    pub history: History,
    /// What it knows of its genes, where that was looked at.
    pub evidence: Option<Evidence>,
    /// Where its cells lie by their expression, where that was asked for.
    pub expression: Option<ExpressionSpace>,
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
        let mut container = Container {
            header: serde_json::to_string(&header).map_err(unwritable)?,
            arrays: BTreeMap::new(),
        };
        put_snapshot(&mut container, "", &self.model.snapshot()?)?;
        put_history(&mut container, &self.history.epochs);
        put_connections(&mut container, &self.history.connections);
        if let Some(groups) = &self.cell_groups {
            for (name, tensor) in [
                ("profiles", &groups.profiles),
                ("inputs", &groups.inputs),
                ("latent", &groups.latent),
                ("latent_variance", &groups.latent_variance),
            ] {
                put_tensor(&mut container, format!("cell_groups.{name}"), tensor)?;
            }
        }
        let columns = self.evidence.iter().flat_map(Evidence::columns);
        for (name, values) in columns {
            container.put(evidence_name(name), &[values.len()], values);
        }
        if let Some(space) = &self.expression {
            expression::put(&mut container, space)?;
        }
        container.to_bytes()
    }

    /// Writes the file; at any moment the file there is whole.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_whole(path, &self.to_bytes()?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::File`] when it is not there or cannot be read, and as [`SavedModel::from_bytes`].
    pub fn read(path: &Path) -> Result<Self> {
        match files::read(path)? {
            Some(bytes) => Self::from_bytes(&bytes),
            None => Err(Error::File(format!("'{}' does not exist", path.display()))),
        }
    }

    /// Reads a file's bytes, of this form or any older one.
    ///
    /// # Errors
    /// [`Error::Model`] when they are damaged, not of this kind, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let container = upgraded(Container::from_bytes(bytes)?)?;
        let header: Header = serde_json::from_str(&container.header).map_err(damaged)?;
        header.settings.check().map_err(damaged)?;
        header.check()?;
        let (n_genes, design) = (header.gene_names.len(), &header.design);
        check_size(&container, "", &header.settings, design, n_genes)?;
        let n_masks = match header.settings.batch_masks {
            BatchMasks::Separate => design.n_batches(),
            BatchMasks::Shared => 1,
        };
        let n_hidden = header.settings.n_hidden;
        let wiring = parts::wiring(&container, "", n_masks, n_genes, n_hidden)?;
        let initial = match header.settings.batch_offsets {
            true => InitialValues::flat(n_genes, design),
            // Batches x genes, which then nothing in the file stands for.
            false => InitialValues {
                log_share: vec![0.0; n_genes],
                log_ratios: Vec::new(),
                input_shift: Vec::new(),
            },
        };
        let mut model = Vae::with_wiring(&header.settings, design, &initial, wiring, &Cpu)?;
        let like = model.snapshot()?;
        check_known(&container, &like)?;
        model.restore(&parts::snapshot(
            &container,
            "",
            Arc::clone(model.wiring()),
            &like,
        )?)?;
        Ok(SavedModel {
            cell_groups: cell_groups(&container, n_genes, header.settings.n_latent)?,
            model,
            gene_names: header.gene_names,
            batch_names: header.batch_names,
            batch_columns: header.batch_columns,
            covariates: header.covariates,
            library: header.library,
            history: History {
                epochs: parts::history(&container)?,
                stopped: header.stopped,
                best_epoch: header.best_epoch,
                connections: parts::epochs_connections(&container, n_genes)?,
            },
            evidence: evidence(&container, n_genes)?,
            expression: expression::read(&container, n_genes, n_masks)?,
        })
    }

    /// The groups of cells that are remembered.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are none.
    pub fn remembered(&self) -> Result<&CellGroups> {
        self.cell_groups.as_ref().ok_or_else(|| {
            Error::Argument(
                "the model remembers no cells to set new ones against, as those that early versions of scVAE saved: \
                 fit it again"
                    .into(),
            )
        })
    }

    /// Places of cells with these latent values in the expression space; `None` if the model has none.
    ///
    /// # Errors
    /// As [`ExpressionSpace::place`].
    pub fn places(&self, z: &Array2<f64>, should_stop: Stop) -> Result<Option<Array2<f64>>> {
        let space = self.expression.as_ref();
        space
            .map(|space| space.place(&self.model, z, should_stop))
            .transpose()
    }

    /// Connections of each gene, one vector per batch.
    pub fn connections(&self) -> Vec<Vec<usize>> {
        let masks = &self.model.wiring().masks;
        let of_mask = |list: &ConnectionList| {
            let offsets = list.offsets.windows(2);
            offsets.map(|w| (w[1] - w[0]) as usize).collect()
        };
        (0..self.model.n_batches())
            .map(|b| of_mask(&masks[b.min(masks.len() - 1)]))
            .collect()
    }

    /// Version of scVAE that writes this form.
    pub fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Whether all of the network in a file is in the model: what is not would be lost without a word.
fn check_known(container: &Container, model: &Snapshot) -> Result<()> {
    let known: HashSet<String> = model.tensors.keys().map(TensorId::to_string).collect();
    let mut names = container.arrays.keys();
    let unknown = names.find(|name| {
        let of_network = name.starts_with("encoder.") || name.starts_with("decoder.");
        of_network && !known.contains(*name)
    });
    match unknown {
        None => Ok(()),
        Some(name) => Err(damaged(format_args!(
            "its settings have no place for its {name}"
        ))),
    }
}

fn evidence_name(column: &str) -> String {
    format!("evidence.{column}")
}

fn evidence(container: &Container, n_genes: usize) -> Result<Option<Evidence>> {
    if !container.arrays.contains_key(&evidence_name("explained")) {
        return Ok(None);
    }
    let column = |name: &str| {
        let values = container.array(&evidence_name(name))?.numbers::<f64>()?;
        match values.len() == n_genes {
            true => Ok(values),
            false => Err(damaged("what it knows of its genes is of other genes")),
        }
    };
    Evidence::from_columns(column).map(Some)
}

fn cell_groups(
    container: &Container,
    n_genes: usize,
    n_latent: usize,
) -> Result<Option<CellGroups>> {
    let part = |name: &str, width: usize| {
        let Some(array) = container.arrays.get(&format!("cell_groups.{name}")) else {
            return Ok(None);
        };
        if array.shape.len() != 2 || array.shape[1] != width {
            return Err(damaged("its groups of cells do not fit together"));
        }
        parts::tensor(array).map(Some)
    };
    let all = (
        part("profiles", n_genes)?,
        part("inputs", n_genes)?,
        part("latent", n_latent)?,
        part("latent_variance", n_latent)?,
    );
    let (profiles, inputs, latent, latent_variance) = match all {
        (None, None, None, None) => return Ok(None),
        (Some(profiles), Some(inputs), Some(latent), Some(variance)) => {
            (profiles, inputs, latent, variance)
        }
        _ => return Err(damaged("its groups of cells are not complete")),
    };
    let n_groups = profiles.dims()[0];
    let others = [&inputs, &latent, &latent_variance];
    if n_groups == 0 || others.iter().any(|other| other.dims()[0] != n_groups) {
        return Err(damaged("its groups of cells do not fit together"));
    }
    Ok(Some(CellGroups {
        profiles,
        inputs,
        latent,
        latent_variance,
    }))
}
