//! Writes files as anndata and CellRanger do, in all their encodings.

use std::path::PathBuf;

use hdf5::types::{FixedAscii, FixedUnicode, VarLenAscii, VarLenUnicode};
use hdf5::{Group, H5Type, Location};
use ndarray::Array2;
use tempfile::TempDir;

use super::plain::Plain;

/// A file in a folder of its own that goes away with it.
pub struct Written {
    _folder: TempDir,
    pub path: PathBuf,
    pub file: Option<hdf5::File>,
}

impl Written {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let file = Some(hdf5::File::create(&path).unwrap());
        Written {
            _folder: folder,
            path,
            file,
        }
    }

    pub fn root(&self) -> &hdf5::File {
        self.file.as_ref().unwrap()
    }

    pub fn closed(mut self) -> Self {
        self.file.take().unwrap().close().unwrap();
        self
    }
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy)]
pub enum Encoding {
    /// By cell, each cell's genes in decreasing order if asked.
    Csr {
        reversed: bool,
    },
    Csc,
    Dense,
}

/// The type of stored numbers.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    U8,
    I32,
    U32,
    I64,
    F32,
    F64,
}

/// How numbers are stored: the type of values, of indices and offsets, chunks (with gzip), explicit zeros.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    pub values: Number,
    pub indices: Number,
    pub chunk: Option<usize>,
    pub zeros: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            values: Number::F32,
            indices: Number::I32,
            chunk: Some(5),
            zeros: false,
        }
    }
}

pub fn numbers(group: &Group, name: &str, values: &[f64], kind: Number, chunk: Option<usize>) {
    fn put<T: H5Type>(group: &Group, name: &str, values: Vec<T>, chunk: Option<usize>) {
        let builder = group.new_dataset_builder();
        let builder = match chunk {
            Some(c) if !values.is_empty() => builder.chunk(c.min(values.len())).deflate(4),
            _ => builder,
        };
        builder.with_data(&values).create(name).unwrap();
    }
    let v = values.iter();
    match kind {
        Number::U8 => put(group, name, v.map(|&x| x as u8).collect(), chunk),
        Number::I32 => put(group, name, v.map(|&x| x as i32).collect(), chunk),
        Number::U32 => put(group, name, v.map(|&x| x as u32).collect(), chunk),
        Number::I64 => put(group, name, v.map(|&x| x as i64).collect(), chunk),
        Number::F32 => put(group, name, v.map(|&x| x as f32).collect(), chunk),
        Number::F64 => put(group, name, values.to_vec(), chunk),
    }
}

pub fn indices(group: &Group, name: &str, values: &[usize], kind: Number, chunk: Option<usize>) {
    let values: Vec<f64> = values.iter().map(|&v| v as f64).collect();
    numbers(group, name, &values, kind, chunk);
}

pub fn attribute(place: &Location, name: &str, value: &str) {
    let value: VarLenUnicode = value.parse().unwrap();
    let attribute = place.new_attr::<VarLenUnicode>().create(name).unwrap();
    attribute.write_scalar(&value).unwrap();
}

fn shape_attribute(group: &Group, name: &str, plain: &Plain) {
    let shape = [plain.n_cells() as i64, plain.n_genes as i64];
    let builder = group.new_attr_builder().with_data(&shape);
    builder.create(name).unwrap();
}

/// A matrix of cells x genes as anndata writes it.
pub fn matrix(parent: &Group, name: &str, plain: &Plain, encoding: Encoding, storage: Storage) {
    let (by, format) = match encoding {
        Encoding::Dense => return dense(parent, name, plain, storage),
        Encoding::Csr { reversed } => (plain.by_cell(storage.zeros, reversed), "csr_matrix"),
        Encoding::Csc => (
            plain.transposed().by_cell(storage.zeros, false),
            "csc_matrix",
        ),
    };
    let group = parent.create_group(name).unwrap();
    attribute(&group, "encoding-type", format);
    attribute(&group, "encoding-version", "0.1.0");
    shape_attribute(&group, "shape", plain);
    compressed(&group, &by, storage);
}

/// The three arrays of a compressed matrix.
pub fn compressed(group: &Group, by: &(Vec<usize>, Vec<usize>, Vec<f64>), storage: Storage) {
    let chunk = storage.chunk;
    indices(group, "indptr", &by.0, storage.indices, chunk);
    indices(group, "indices", &by.1, storage.indices, chunk);
    numbers(group, "data", &by.2, storage.values, chunk);
}

/// A matrix as h5py's old h5sparse wrote it, before anndata 0.7.
pub fn h5sparse(parent: &Group, name: &str, plain: &Plain) {
    let group = parent.create_group(name).unwrap();
    attribute(&group, "h5sparse_format", "csr");
    shape_attribute(&group, "h5sparse_shape", plain);
    compressed(&group, &plain.by_cell(false, false), Storage::default());
}

fn dense(parent: &Group, name: &str, plain: &Plain, storage: Storage) {
    fn put<T: H5Type>(group: &Group, name: &str, values: Array2<T>, chunk: Option<usize>) {
        let (rows, columns) = values.dim();
        let builder = group.new_dataset_builder();
        let builder = match chunk {
            Some(c) if rows > 0 && columns > 0 => {
                builder.chunk((c.min(rows), 3.min(columns))).deflate(4)
            }
            _ => builder,
        };
        builder.with_data(&values).create(name).unwrap();
    }
    let all: Vec<f64> = plain.rows.concat();
    let all = Array2::from_shape_vec((plain.n_cells(), plain.n_genes), all).unwrap();
    let chunk = storage.chunk;
    match storage.values {
        Number::U8 => put(parent, name, all.mapv(|x| x as u8), chunk),
        Number::I32 => put(parent, name, all.mapv(|x| x as i32), chunk),
        Number::U32 => put(parent, name, all.mapv(|x| x as u32), chunk),
        Number::I64 => put(parent, name, all.mapv(|x| x as i64), chunk),
        Number::F32 => put(parent, name, all.mapv(|x| x as f32), chunk),
        Number::F64 => put(parent, name, all, chunk),
    }
}

/// The kinds of text in HDF5.
#[derive(Debug, Clone, Copy)]
pub enum Text {
    VariableUnicode,
    VariableAscii,
    FixedUnicode,
    FixedAscii,
    LongFixedAscii,
}

pub fn strings<S: AsRef<str>>(group: &Group, name: &str, values: &[S], text: Text) {
    fn put<T: H5Type>(group: &Group, name: &str, values: Vec<T>) {
        let builder = group.new_dataset_builder().with_data(&values);
        builder.create(name).unwrap();
    }
    let v = values.iter().map(AsRef::as_ref);
    match text {
        Text::VariableUnicode => {
            let v: Vec<VarLenUnicode> = v.map(|s| s.parse().unwrap()).collect();
            put(group, name, v)
        }
        Text::VariableAscii => {
            let v = v.map(|s| VarLenAscii::from_ascii(s).unwrap()).collect();
            put(group, name, v)
        }
        Text::FixedUnicode => {
            let v: Vec<FixedUnicode<40>> = v.map(|s| s.parse().unwrap()).collect();
            put(group, name, v)
        }
        Text::FixedAscii => {
            let v: Vec<FixedAscii<9>> = v.map(|s| FixedAscii::from_ascii(s).unwrap()).collect();
            put(group, name, v)
        }
        Text::LongFixedAscii => {
            let v: Vec<FixedAscii<700>> = v.map(|s| FixedAscii::from_ascii(s).unwrap()).collect();
            put(group, name, v)
        }
    }
}

/// A data frame with an index and no columns; its `column-order` is then an empty array of numbers.
pub fn frame<S: AsRef<str>>(parent: &Group, name: &str, index: &[S]) -> Group {
    let group = parent.create_group(name).unwrap();
    attribute(&group, "encoding-type", "dataframe");
    attribute(&group, "_index", "_index");
    let none: [f64; 0] = [];
    let builder = group.new_attr_builder().with_data(&none);
    builder.create("column-order").unwrap();
    strings(&group, "_index", index, Text::VariableUnicode);
    group
}

/// A whole `.h5ad` file with counts in X.
pub fn h5ad(plain: &Plain, encoding: Encoding, storage: Storage) -> Written {
    let written = Written::new("counts.h5ad");
    let root = written.root();
    attribute(root, "encoding-type", "anndata");
    frame(root, "obs", &plain.cell_names());
    frame(root, "var", &plain.gene_names());
    matrix(root, "X", plain, encoding, storage);
    written
}
