//! The encodings of a stored matrix (compressed by cell, compressed by gene, dense), all read into one compressed by
//! cell, block by block: beside the result only a block is in memory.

use std::ops::Range;

use super::hdf::{blocks, Hdf, Kind, Length};
use super::matrix::checked;
use super::{hdf_text, CountMatrix};
use crate::{go_on, Result, Stop};

/// Reads the matrix that anndata stored at `place`, which must have `n_cells` rows and `n_genes` columns.
pub(super) fn read(
    hdf: &Hdf,
    place: &str,
    n_cells: usize,
    n_genes: usize,
) -> Result<CountMatrix<'static>> {
    if hdf.kind(place) == Some(Kind::Dataset) {
        return dense(hdf, place, n_cells, n_genes);
    }
    // Before anndata 0.7 the attributes were h5sparse's.
    let shape = match hdf.whole_attribute(place, "shape")? {
        None => hdf.whole_attribute(place, "h5sparse_shape")?,
        shape => shape,
    };
    if let Some(shape) = shape {
        check_shape(hdf, place, &shape, n_cells, n_genes)?;
    }
    let encoding = match hdf_text::attribute(hdf, place, "encoding-type")? {
        None => hdf_text::attribute(hdf, place, "h5sparse_format")?,
        encoding => encoding,
    };
    match encoding.as_ref().and_then(|e| e.first()).map(String::as_str) {
        Some("csr_matrix" | "csr") => by_cell(hdf, place, n_cells, n_genes),
        Some("csc_matrix" | "csc") => by_gene(hdf, place, n_cells, n_genes),
        other => Err(hdf.error(format_args!(
            "stores {place} as {}, which is not a matrix this package reads; save it as a sparse (csr, csc) or dense \
             matrix",
            other.unwrap_or("a group without an encoding")
        ))),
    }
}

fn check_shape(
    hdf: &Hdf,
    place: &str,
    shape: &[usize],
    n_cells: usize,
    n_genes: usize,
) -> Result<()> {
    if shape == [n_cells, n_genes] {
        return Ok(());
    }
    Err(hdf.error(format_args!(
        "is damaged: {place} has shape {shape:?}, but {n_cells} cells and {n_genes} genes are named"
    )))
}

/// A matrix compressed by cell in the datasets `indptr`, `indices` (genes) and `data` of a group: anndata's CSR of
/// cells x genes, and the genes x cells matrix of 10x Genomics. Genes in any order within a cell are sorted.
pub(super) fn by_cell(
    hdf: &Hdf,
    place: &str,
    n_cells: usize,
    n_genes: usize,
) -> Result<CountMatrix<'static>> {
    let stored = Stored::open(hdf, place, n_cells, n_genes)?;
    let mut genes = hdf.room(stored.n_entries)?;
    let mut values = hdf.room(stored.n_entries)?;
    let mut cell = 0;
    stored.for_each(|entry, gene, value| {
        while stored.offsets[cell + 1] <= entry {
            cell += 1;
        }
        genes.push(gene as u32);
        values.push(checked(cell, gene, value)?);
        Ok(())
    })?;
    let offsets = stored.offsets;
    sort_cells(hdf.should_stop(), &offsets, &mut genes, &mut values)?;
    CountMatrix::from_csr_unless(hdf.should_stop(), offsets, genes, values, n_genes)
}

/// A matrix compressed by gene (`indices` are cells): read twice, first to count each cell's entries, then to put them
/// in their places. Its genes come in order, so the cells' genes do too.
fn by_gene(hdf: &Hdf, place: &str, n_cells: usize, n_genes: usize) -> Result<CountMatrix<'static>> {
    let stored = Stored::open(hdf, place, n_genes, n_cells)?;
    let mut offsets: Vec<usize> = hdf.room(n_cells + 1)?;
    offsets.resize(n_cells + 1, 0);
    stored.for_each_index(|_, cell| {
        offsets[cell + 1] += 1;
        Ok(())
    })?;
    for cell in 0..n_cells {
        offsets[cell + 1] += offsets[cell];
    }
    let mut next = offsets.clone();
    let mut genes: Vec<u32> = hdf.room(stored.n_entries)?;
    let mut values: Vec<f32> = hdf.room(stored.n_entries)?;
    genes.resize(stored.n_entries, 0);
    values.resize(stored.n_entries, 0.0);
    let mut gene = 0;
    stored.for_each(|entry, cell, value| {
        while stored.offsets[gene + 1] <= entry {
            gene += 1;
        }
        genes[next[cell]] = gene as u32;
        values[next[cell]] = checked(cell, gene, value)?;
        next[cell] += 1;
        Ok(())
    })?;
    CountMatrix::from_csr_unless(hdf.should_stop(), offsets, genes, values, n_genes)
}

fn dense(hdf: &Hdf, place: &str, n_cells: usize, n_genes: usize) -> Result<CountMatrix<'static>> {
    let data = hdf.dataset(place)?;
    check_shape(hdf, place, &data.shape(), n_cells, n_genes)?;
    let mut offsets = hdf.room(n_cells + 1)?;
    offsets.push(0);
    let (mut genes, mut values): (Vec<u32>, Vec<f32>) = (Vec::new(), Vec::new());
    if n_genes == 0 {
        offsets.resize(n_cells + 1, 0);
    } else {
        for rows in blocks(&data, n_cells, n_genes) {
            let block = hdf.tile(&data, place, rows.clone(), 0..n_genes)?;
            let n_entries = block.iter().filter(|&&value| value != 0.0).count();
            hdf.more_room(&mut genes, n_entries)?;
            hdf.more_room(&mut values, n_entries)?;
            for (cell, row) in rows.zip(block.chunks_exact(n_genes)) {
                for (gene, &value) in row.iter().enumerate() {
                    if value != 0.0 {
                        genes.push(gene as u32);
                        values.push(checked(cell, gene, value)?);
                    }
                }
                offsets.push(genes.len());
            }
        }
    }
    CountMatrix::from_csr_unless(hdf.should_stop(), offsets, genes, values, n_genes)
}

/// A compressed matrix in a file, its offsets read and checked.
struct Stored<'a> {
    hdf: &'a Hdf<'a>,
    place: &'a str,
    offsets: Vec<usize>,
    n_entries: usize,
    n_minor: usize,
    indices: hdf5::Dataset,
    data: hdf5::Dataset,
}

impl<'a> Stored<'a> {
    /// `n_major`: what `indptr` runs over; `n_minor`: what `indices` point to.
    fn open(hdf: &'a Hdf<'a>, place: &'a str, n_major: usize, n_minor: usize) -> Result<Self> {
        let damaged = |what: String| Err(hdf.error(format_args!("is damaged: {place} {what}")));
        let indptr = format!("{place}/indptr");
        let n_offsets = hdf.length(&*hdf.dataset(&indptr)?, &indptr)?;
        if n_offsets != n_major + 1 {
            return damaged(format!(
                "has {n_offsets} offsets where {} are needed",
                n_major + 1
            ));
        }
        let offsets: Vec<i64> = hdf.all_numbers(&indptr, Length::Exactly(n_offsets))?;
        let (indices_at, data_at) = (format!("{place}/indices"), format!("{place}/data"));
        let indices = hdf.dataset(&indices_at)?;
        let data = hdf.dataset(&data_at)?;
        let n_entries = hdf.length(&data, &data_at)?;
        if indices.shape() != [n_entries] || data.ndim() != 1 {
            return damaged(format!(
                "has {} indices for {n_entries} values",
                hdf.length(&indices, &indices_at)?
            ));
        }
        if offsets.first() != Some(&0) || offsets.last() != Some(&(n_entries as i64)) {
            return damaged("has offsets that do not span its values".into());
        }
        if offsets.windows(2).any(|w| w[0] > w[1]) {
            return damaged("has offsets that decrease".into());
        }
        hdf.check_storage(&indices, &indices_at, n_entries)?;
        hdf.check_storage(&data, &data_at, n_entries)?;
        Ok(Stored {
            hdf,
            place,
            offsets: offsets.into_iter().map(|o| o as usize).collect(),
            n_entries,
            n_minor,
            indices,
            data,
        })
    }

    /// Calls `visit(entry, index)` for all entries in the order stored.
    fn for_each_index(&self, mut visit: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        for range in blocks(&self.indices, self.n_entries, 1) {
            let indices: Vec<i64> = self.part(&self.indices, "indices", range.clone())?;
            for (entry, index) in range.zip(indices) {
                visit(entry, self.in_range(index)?)?;
            }
        }
        Ok(())
    }

    /// Calls `visit(entry, index, value)` for all entries in the order stored.
    fn for_each(&self, mut visit: impl FnMut(usize, usize, f64) -> Result<()>) -> Result<()> {
        for range in blocks(&self.data, self.n_entries, 1) {
            let indices: Vec<i64> = self.part(&self.indices, "indices", range.clone())?;
            let values: Vec<f64> = self.part(&self.data, "data", range.clone())?;
            for (entry, (index, value)) in range.zip(indices.into_iter().zip(values)) {
                visit(entry, self.in_range(index)?, value)?;
            }
        }
        Ok(())
    }

    fn part<T: hdf5::H5Type>(
        &self,
        dataset: &hdf5::Dataset,
        name: &str,
        range: Range<usize>,
    ) -> Result<Vec<T>> {
        let place = format!("{}/{name}", self.place);
        self.hdf.part(dataset, &place, range)
    }

    fn in_range(&self, index: i64) -> Result<usize> {
        match usize::try_from(index) {
            Ok(i) if i < self.n_minor => Ok(i),
            _ => Err(self.hdf.error(format_args!(
                "is damaged: {} has index {index} where {} are named",
                self.place, self.n_minor
            ))),
        }
    }
}

/// Puts each cell's entries in the order of their genes.
pub(super) fn sort_cells(
    should_stop: Stop,
    offsets: &[usize],
    genes: &mut [u32],
    values: &mut [f32],
) -> Result<()> {
    let mut pairs: Vec<(u32, f32)> = Vec::new();
    for (cell, w) in offsets.windows(2).enumerate() {
        go_on(cell, should_stop)?;
        let (genes, values) = (&mut genes[w[0]..w[1]], &mut values[w[0]..w[1]]);
        if genes.is_sorted() {
            continue;
        }
        pairs.clear();
        pairs.extend(genes.iter().copied().zip(values.iter().copied()));
        pairs.sort_unstable_by_key(|&(gene, _)| gene);
        for (i, &(gene, value)) in pairs.iter().enumerate() {
            genes[i] = gene;
            values[i] = value;
        }
    }
    Ok(())
}
