//! Fits one model and writes its embedding as CSV; builds against any commit of the package.
//!
//! `dropped COUNTS.h5ad SETTINGS_JSON OUT.csv`, with batches from the column `batch`.

use std::error::Error;
use std::io::Write;

use scvae::counts::{filter, obs_column, CountsFile};
use scvae::model::{Design, Settings};
use scvae::results::embed;
use scvae::training::{train, with_threads, Silent};

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [file, settings, out] = given.as_slice() else {
        return Err("usage: dropped COUNTS.h5ad SETTINGS_JSON OUT.csv".into());
    };
    let settings: Settings = serde_json::from_str(settings)?;
    let counts = CountsFile::read(file, None)?;
    let view = filter(&counts.matrix, settings.min_cells, settings.min_genes)?;
    let column = obs_column(file, "batch")?;
    let of_cells = view.cells().iter().map(|&cell| column[cell].clone());
    let of_cells: Vec<String> = of_cells
        .collect::<Option<_>>()
        .ok_or("a cell has no batch")?;
    let mut names = of_cells.clone();
    names.sort();
    names.dedup();
    let batch: Vec<usize> = of_cells
        .iter()
        .map(|name| names.partition_point(|n| n < name))
        .collect();
    let embedding = with_threads(settings.threads, || {
        let trained = train(
            &view,
            &batch,
            &Design::single(names.len()),
            &settings,
            &Silent,
        )?;
        embed(&trained.model, &view, &batch)
    })?;
    let mut csv = std::io::BufWriter::new(std::fs::File::create(out)?);
    let dimensions = (1..=embedding.mean.ncols()).map(|i| format!("z{i}"));
    writeln!(csv, "cell,{}", dimensions.collect::<Vec<_>>().join(","))?;
    for (row, &cell) in embedding.mean.rows().into_iter().zip(view.cells()) {
        let values: Vec<String> = row.iter().map(|x| x.to_string()).collect();
        writeln!(csv, "{},{}", counts.cell_names[cell], values.join(","))?;
    }
    Ok(csv.flush()?)
}
