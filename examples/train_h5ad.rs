//! Trains a model from an `.h5ad` or 10x Genomics `.h5` file, without R, and writes to a folder the embedding
//! (`latent.tsv`), the genes' connections (`genes.tsv`) and the model (`model.scvae`, which `loadSCVAE()` reads).
//!
//!     cargo run --release --example train_h5ad -- counts.h5ad folder [obs column of the batches]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::Path;

use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::{filter, obs_column, CountsFile};
use scvae::mapping::remember;
use scvae::model::{EpochRecord, Settings};
use scvae::results::{embed, mean_connections, median_library};
use scvae::saved::{Covariate, SavedModel};
use scvae::training::{check_batch_sizes, train, with_threads, Monitor, TrainingCells};
use scvae::{Error, Result};

struct Progress;

impl Monitor for Progress {
    fn epoch_done(&self, record: &EpochRecord, max_epochs: usize) {
        eprintln!(
            "epoch {}/{max_epochs}: loss {:.1}",
            record.epoch, record.elbo_train
        );
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err(Error::Argument(
            "usage: train_h5ad FILE FOLDER [obs column of the batches]".into(),
        ));
    };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    let never = || false;
    let file = CountsFile::read(&path, None, &never)?;
    let settings = Settings {
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        ..Settings::default()
    };

    let view = filter(&file.matrix, settings.min_cells, settings.min_genes)?;
    let column = arguments.next();
    let (names, codes) = match &column {
        None => (Vec::new(), vec![0; view.n_cells()]),
        Some(column) => batches(obs_column(&path, column, &never)?.into_text(), view.cells()),
    };
    check_batch_sizes(&codes, &names)?;
    let design = Design::single(names.len());
    let cells = TrainingCells {
        view: &view,
        batch: &codes,
        design: &design,
    };

    let (trained, embedding, groups) = with_threads(settings.threads, || {
        let trained = train(cells, &settings, &Cpu, &Progress)?;
        let embedding = embed(&trained.model, &view, &codes, &never)?;
        let groups = remember(&trained.model, &view, &codes, &embedding, &never)?;
        Ok((trained, embedding, groups))
    })?;

    let gene_names: Vec<String> = view
        .genes()
        .iter()
        .map(|&gene| file.gene_names[gene].clone())
        .collect();
    let connections = mean_connections(&trained.model.masks());
    let of_genes = gene_names.iter().zip(connections);
    write(
        &folder.join("genes.tsv"),
        of_genes.map(|(name, n)| format!("{name}\t{n}")),
    )?;
    let of_cells = view.cells().iter().zip(embedding.mean.rows());
    write(
        &folder.join("latent.tsv"),
        of_cells.map(|(&cell, z)| {
            let z: Vec<String> = z.iter().map(|z| format!("{z:.5}")).collect();
            format!("{}\t{}", file.cell_names[cell], z.join("\t"))
        }),
    )?;
    let covariate = column.iter().map(|column| Covariate {
        name: column.clone(),
        levels: names.clone(),
    });
    let saved = SavedModel {
        covariates: covariate.filter(|_| names.len() > 1).collect(),
        batch_names: if names.len() > 1 { names } else { Vec::new() },
        batch_columns: column.into_iter().collect(),
        library: median_library(&view, &codes, design.n_batches()),
        cell_groups: Some(groups),
        model: trained.model,
        history: trained.history,
        evidence: None,
        expression: None,
        gene_names,
    };
    saved.write(&folder.join("model.scvae"))
}

/// The batches' names and each kept cell's batch; cells without a value are a batch of their own.
fn batches(values: Vec<Option<String>>, cells: &[usize]) -> (Vec<String>, Vec<usize>) {
    let of_cell = |cell: usize| values[cell].clone().unwrap_or_else(|| "none".into());
    let names: BTreeSet<String> = cells.iter().map(|&cell| of_cell(cell)).collect();
    let names: Vec<String> = names.into_iter().collect();
    let code = |cell: usize| names.partition_point(|name| *name < of_cell(cell));
    let codes = cells.iter().map(|&cell| code(cell)).collect();
    (names, codes)
}

fn write(path: &Path, lines: impl Iterator<Item = String>) -> Result<()> {
    let text: String = lines.map(|line| line + "\n").collect();
    fs::write(path, text).map_err(|e| failed(path, &e))
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::File(format!("'{}': {error}", path.display()))
}
