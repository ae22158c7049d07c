//! `.loom`: a dense matrix of genes x cells in tiles, layers of the same shape, and attributes of genes and cells.

use super::annotation::Annotation;
use super::counts_file::{CountsFile, FileFormat, Selection};
use super::features::make_unique;
use super::found::{find, Candidate};
use super::hdf::{quoted, Hdf, Kind, Length};
use super::matrix::checked;
use super::{obs_table, CountMatrix};
use crate::{Error, Result};

/// Where names are: by loompy's convention, then as others write them.
const CELL_NAMES: [&str; 5] = ["CellID", "obs_names", "cell_names", "colnames", "barcodes"];
const GENE_NAMES: [&str; 5] = ["Gene", "var_names", "gene_names", "rownames", "GeneName"];
const GENE_IDS: [&str; 3] = ["Accession", "gene_ids", "GeneID"];

/// Values of a tile that are read at once: 8 MiB in double precision, more if the file's own tiles are larger.
const TILE: usize = 1 << 20;

/// Whether the file looks like one.
pub(super) fn recognised(hdf: &Hdf) -> bool {
    hdf.kind("matrix") == Some(Kind::Dataset)
        && hdf.kind("row_attrs") == Some(Kind::Group)
        && hdf.kind("col_attrs") == Some(Kind::Group)
}

/// Names of the columns of what is known of the cells.
pub(super) fn cell_columns(hdf: &Hdf) -> Vec<String> {
    hdf.members("col_attrs")
}

/// One of these columns.
pub(super) fn cell_column(hdf: &Hdf, name: &str) -> Result<super::Column> {
    if !cell_columns(hdf).iter().any(|known| known == name) {
        return Err(hdf.error(format_args!(
            "has no column '{name}' of the cells; its columns are {}",
            quoted(&cell_columns(hdf))
        )));
    }
    let (_, n_cells) = shape(hdf, "matrix")?;
    attribute(hdf, "col_attrs", name, n_cells)
}

fn attribute(hdf: &Hdf, group: &str, name: &str, n: usize) -> Result<super::Column> {
    let place = format!("{group}/{name}");
    let dataset = hdf.dataset(&place)?;
    if dataset.ndim() != 1 {
        return Err(hdf.error(format_args!(
            "stores {place} with {} dimensions where one is needed",
            dataset.ndim()
        )));
    }
    obs_table::values(hdf, &place, Length::Exactly(n))
}

fn annotation(hdf: &Hdf, group: &str, n: usize) -> Result<Annotation> {
    obs_table::collect(hdf.members(group), |name| attribute(hdf, group, name, n))
}

/// Reads the main matrix or a layer.
pub(super) fn read(hdf: &Hdf, selection: &Selection) -> Result<CountsFile> {
    let mut available = vec!["matrix".to_string()];
    available.extend(hdf.members("layers"));
    let place = |name: &str| match name {
        "matrix" => name.to_string(),
        _ => format!("layers/{name}"),
    };
    let (layer, passed_over) = match selection.layer {
        Some(name) if available.iter().any(|a| a == name) => (name.to_string(), Vec::new()),
        Some(name) => {
            return Err(hdf.error(format_args!(
                "has no layer '{name}'; choose `layer` from {}",
                quoted(&available)
            )))
        }
        None => {
            let candidates: Vec<Candidate> = available
                .iter()
                .map(|name| Candidate {
                    name: name.clone(),
                    place: place(name),
                })
                .collect();
            let (i, passed_over) = find(hdf, &candidates, 1)?;
            (available[i].clone(), passed_over)
        }
    };
    let (n_genes, n_cells) = shape(hdf, "matrix")?;
    let cell_names = match names(hdf, "col_attrs", &CELL_NAMES, n_cells)? {
        Some(names) => names,
        None => numbered(hdf, "cell", n_cells)?,
    };
    let gene_names = names(hdf, "row_attrs", &GENE_NAMES, n_genes)?;
    let gene_ids = names(hdf, "row_attrs", &GENE_IDS, n_genes)?;
    let gene_names = match gene_names.or_else(|| gene_ids.clone()) {
        Some(names) => make_unique(&names),
        None => numbered(hdf, "gene", n_genes)?,
    };
    let annotation = |group, n| match selection.annotation {
        true => annotation(hdf, group, n),
        false => Ok(Annotation::default()),
    };
    let matrix = tiled(hdf, &place(&layer), n_cells, n_genes).map_err(|e| match e {
        Error::Counts(text) => Error::Counts(format!("'{}', {layer}: {text}", hdf.path())),
        e => e,
    })?;
    Ok(CountsFile {
        matrix,
        cell_names,
        gene_ids: gene_ids.unwrap_or_else(|| gene_names.clone()),
        gene_names,
        format: FileFormat::Loom,
        available,
        layer,
        passed_over,
        left_out: Vec::new(),
        cells: annotation("col_attrs", n_cells)?,
        genes: annotation("row_attrs", n_genes)?,
    })
}

/// The first of the attributes that there is.
fn names(hdf: &Hdf, group: &str, known: &[&str], n: usize) -> Result<Option<Vec<String>>> {
    let there = |name: &&&str| hdf.kind(&format!("{group}/{name}")) == Some(Kind::Dataset);
    let Some(name) = known.iter().find(there) else {
        return Ok(None);
    };
    let values = attribute(hdf, group, name, n)?.into_text();
    let text = |v: Option<String>| v.unwrap_or_else(|| "NA".into());
    Ok(Some(values.into_iter().map(text).collect()))
}

/// Names as R makes them for a matrix without.
fn numbered(hdf: &Hdf, what: &str, n: usize) -> Result<Vec<String>> {
    let mut names = hdf.room(n)?;
    names.extend((1..=n).map(|i| format!("{what}{i}")));
    Ok(names)
}

/// Genes and cells of a matrix.
fn shape(hdf: &Hdf, place: &str) -> Result<(usize, usize)> {
    match hdf.dataset(place)?.shape()[..] {
        [genes, cells] => Ok((genes, cells)),
        ref other => Err(hdf.error(format_args!(
            "stores {place} in shape {other:?} where genes x cells are needed"
        ))),
    }
}

/// Reads a strip of cells after the other, each in tiles of genes, both as wide as the file's own tiles or several of
/// them: none is unpacked twice. Beside the result a tile and the entries of a strip are in memory.
fn tiled(hdf: &Hdf, place: &str, n_cells: usize, n_genes: usize) -> Result<CountMatrix<'static>> {
    let data = hdf.dataset(place)?;
    if shape(hdf, place)? != (n_genes, n_cells) {
        return Err(hdf.error(format_args!(
            "is damaged: {place} has shape {:?}, but {n_genes} genes and {n_cells} cells are named",
            data.shape()
        )));
    }
    let (tile_genes, tile_cells) = match data.chunk().as_deref() {
        Some(&[genes, cells]) => (
            genes.clamp(1, n_genes.max(1)),
            cells.clamp(1, n_cells.max(1)),
        ),
        // One piece, gene after gene.
        _ => (1, n_cells.max(1)),
    };
    let times = |n: usize, room: usize| n * (room / n).max(1);
    // A whole strip at once if it is small, else at least the file's own tiles.
    let strip = times(tile_cells, TILE / n_genes.max(1));
    let depth = times(tile_genes, TILE / strip);
    let mut offsets: Vec<usize> = hdf.room(n_cells + 1)?;
    offsets.push(0);
    let (mut genes, mut values): (Vec<u32>, Vec<f32>) = (Vec::new(), Vec::new());
    for first in (0..n_cells).step_by(strip) {
        let cells = first..(first + strip).min(n_cells);
        // Gene after gene.
        let mut found: Vec<(u32, u32, f32)> = Vec::new();
        let mut next = vec![0usize; cells.len()];
        for top in (0..n_genes).step_by(depth) {
            let rows = top..(top + depth).min(n_genes);
            let tile = hdf.tile(&data, place, rows.clone(), cells.clone())?;
            let n_entries = tile.iter().filter(|&&value| value != 0.0).count();
            hdf.more_room(&mut found, n_entries)?;
            for (gene, row) in rows.zip(tile.chunks_exact(cells.len())) {
                for (i, &value) in row.iter().enumerate() {
                    if value != 0.0 {
                        found.push((i as u32, gene as u32, checked(first + i, gene, value)?));
                        next[i] += 1;
                    }
                }
            }
        }
        let start = genes.len();
        hdf.more_room(&mut genes, found.len())?;
        hdf.more_room(&mut values, found.len())?;
        genes.resize(start + found.len(), 0);
        values.resize(start + found.len(), 0.0);
        let mut at = start;
        for n in &mut next {
            at += std::mem::replace(n, at);
            offsets.push(at);
        }
        for (cell, gene, value) in found {
            let at = &mut next[cell as usize];
            genes[*at] = gene;
            values[*at] = value;
            *at += 1;
        }
    }
    CountMatrix::from_csr_unless(hdf.should_stop(), offsets, genes, values, n_genes)
}
