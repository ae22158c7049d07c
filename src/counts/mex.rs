//! Folders with counts in text, as CellRanger and STARsolo write them: `matrix.mtx`, `barcodes.tsv`, `features.tsv` or
//! `genes.tsv`, each packed with gzip or not, all with the same beginning of their names or none.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::counts_file::{CountsFile, FileFormat, Selection};
use super::features::{AllFeatures, FeatureTable};
use super::hdf::quoted;
use super::matrix::checked;
use super::stored_matrix::sort_cells;
use super::CountMatrix;
use crate::{go_on, Error, Result, Stop};

const MATRIX: &str = "matrix.mtx";

/// Bytes of a line that are read at most.
const LONGEST_LINE: u64 = 1 << 20;

/// Entries that room is asked for before it is known that they are there.
const FIRST_ENTRIES: usize = 1 << 20;

/// Whether the path is that of such a folder, or of the matrix in it.
pub(super) fn recognised(path: &Path) -> bool {
    path.is_dir() || (path.is_file() && file_name(path).is_some_and(|n| beginning(&n).is_some()))
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_string())
}

/// What comes before `matrix.mtx` or `matrix.mtx.gz` in a file's name; `None` if it is called otherwise.
fn beginning(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.strip_suffix(MATRIX)
}

fn error(path: &Path, text: impl std::fmt::Display) -> Error {
    Error::File(format!("'{}' {text}", path.display()))
}

/// Reads the folder.
pub(super) fn read(path: &Path, selection: &Selection, should_stop: Stop) -> Result<CountsFile> {
    if let Some(layer) = selection.layer {
        return Err(Error::Argument(format!(
            "'{}' is a folder of 10x Genomics without layers, so `layer` cannot be '{layer}'; leave it out",
            path.display()
        )));
    }
    let (folder, start) = match path.is_dir() {
        true => (path.to_path_buf(), only_beginning(path)?),
        false => {
            let name = file_name(path).unwrap_or_default();
            let start = beginning(&name).unwrap_or_default().to_string();
            (path.parent().unwrap_or(Path::new(".")).to_path_buf(), start)
        }
    };
    // All files are looked for before one is read.
    let find = |names: &[&str]| find(&folder, &start, names);
    let matrix = find(&[MATRIX])?;
    let barcodes = find(&["barcodes.tsv"])?;
    let features = find(&["features.tsv", "genes.tsv"])?;
    let cell_names = rows(&barcodes, should_stop)?;
    let cell_names: Vec<String> = cell_names
        .into_iter()
        .map(|row| row.into_iter().next().unwrap_or_default())
        .collect();
    let features = feature_table(rows(&features, should_stop)?);
    let shown = path.display().to_string();
    let keep = features.wanted(selection.features, &shown)?;
    let n_genes = features.names.len();
    let matrix = read_matrix(&matrix, cell_names.len(), n_genes, should_stop)?;
    let all = AllFeatures {
        matrix,
        cell_names,
        features,
        format: FileFormat::Mex,
        available: vec!["matrix".into()],
        layer: "matrix".into(),
    };
    all.finish(keep, selection, should_stop)
}

/// What the name of the folder's only matrix begins with.
fn only_beginning(folder: &Path) -> Result<String> {
    let listed = std::fs::read_dir(folder);
    let listed = listed.map_err(|e| error(folder, format_args!("cannot be opened: {e}")))?;
    let mut names: Vec<String> = listed.filter_map(|f| file_name(&f.ok()?.path())).collect();
    names.sort();
    let mut found: Vec<&str> = names.iter().filter_map(|name| beginning(name)).collect();
    found.dedup();
    match &found[..] {
        [only] => Ok(only.to_string()),
        several if several.contains(&"") => Ok(String::new()),
        [] => {
            let within: Vec<String> = names
                .iter()
                .filter(|name| {
                    let file = folder.join(name).join(MATRIX);
                    file.exists() || file.with_extension("mtx.gz").exists()
                })
                .cloned()
                .collect();
            Err(error(
                folder,
                match within.is_empty() {
                    false => format!("is a folder without matrix.mtx; there is one in {}", quoted(&within)),
                    true => "is a folder without matrix.mtx or matrix.mtx.gz; give a folder of 10x Genomics, an .h5ad, \
                             a .loom or a 10x Genomics .h5 file"
                        .into(),
                },
            ))
        }
        several => {
            let files: Vec<String> = several.iter().map(|s| format!("{s}{MATRIX}")).collect();
            Err(error(
                folder,
                format_args!(
                    "holds several matrices; give the path of one: {}",
                    quoted(&files)
                ),
            ))
        }
    }
}

/// The file of one of these names, packed or not.
fn find(folder: &Path, start: &str, names: &[&str]) -> Result<PathBuf> {
    for name in names {
        for packed in ["", ".gz"] {
            let path = folder.join(format!("{start}{name}{packed}"));
            if path.is_file() {
                return Ok(path);
            }
        }
    }
    let looked: Vec<String> = names
        .iter()
        .flat_map(|name| ["", ".gz"].map(|packed| format!("{start}{name}{packed}")))
        .collect();
    Err(error(
        folder,
        format_args!(
            "lacks a file that belongs to the matrix, one of {}",
            quoted(&looked)
        ),
    ))
}

/// The lines of a file, unpacked if its first bytes say that it is packed.
struct Lines<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: usize,
    should_stop: Stop<'a>,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path, should_stop: Stop<'a>) -> Result<Self> {
        let fail = |e| error(path, format_args!("cannot be opened: {e}"));
        let mut plain = BufReader::with_capacity(1 << 18, File::open(path).map_err(fail)?);
        let is_packed = plain.fill_buf().map_err(fail)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead> = match is_packed {
            true => Box::new(BufReader::with_capacity(
                1 << 18,
                MultiGzDecoder::new(plain),
            )),
            false => Box::new(plain),
        };
        Ok(Lines {
            path,
            reader,
            line: Vec::new(),
            number: 0,
            should_stop,
        })
    }

    /// The next line without its end, `None` at the end of the file.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        go_on(self.number, self.should_stop)?;
        self.line.clear();
        let mut limited = self.reader.by_ref().take(LONGEST_LINE);
        let n = limited.read_until(b'\n', &mut self.line);
        let n = n.map_err(|e| {
            let what = match e.kind() {
                std::io::ErrorKind::UnexpectedEof => "is cut short".to_string(),
                _ => format!("cannot be read, is it damaged? ({e})"),
            };
            error(
                self.path,
                format_args!("{what}, after line {}", self.number),
            )
        })?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        if n as u64 == LONGEST_LINE {
            return Err(self.damaged("is too long to be text"));
        }
        while self.line.last().is_some_and(|b| b"\r\n".contains(b)) {
            self.line.pop();
        }
        Ok(Some(&self.line))
    }

    /// An error about the last line.
    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        error(
            self.path,
            format_args!("is damaged: line {} {what}", self.number),
        )
    }
}

/// The fields of all lines, which tabs part.
fn rows(path: &Path, should_stop: Stop) -> Result<Vec<Vec<String>>> {
    let mut lines = Lines::open(path, should_stop)?;
    let mut rows = Vec::new();
    while let Some(line) = lines.next()? {
        let Ok(text) = std::str::from_utf8(line) else {
            return Err(lines.damaged("is not UTF-8 text"));
        };
        // R has no text with one.
        if text.contains('\0') {
            return Err(lines.damaged("holds a zero byte"));
        }
        rows.push(text.split('\t').map(str::to_string).collect());
    }
    // What an editor leaves behind.
    while rows.last() == Some(&vec![String::new()]) {
        rows.pop();
    }
    Ok(rows)
}

fn feature_table(rows: Vec<Vec<String>>) -> FeatureTable {
    let has_types = !rows.is_empty() && rows.iter().all(|row| row.len() > 2);
    let mut table = FeatureTable {
        ids: Vec::new(),
        names: Vec::new(),
        types: has_types.then(Vec::new),
        genomes: None,
    };
    for row in rows {
        let mut fields = row.into_iter();
        let id = fields.next().unwrap_or_default();
        // A file of names alone.
        table
            .names
            .push(fields.next().unwrap_or_else(|| id.clone()));
        table.ids.push(id);
        if let (Some(types), Some(kind)) = (&mut table.types, fields.next()) {
            types.push(kind);
        }
    }
    table
}

/// Reads a matrix of genes x cells in Matrix Market's coordinates, in any order.
fn read_matrix(
    path: &Path,
    n_cells: usize,
    n_genes: usize,
    should_stop: Stop,
) -> Result<CountMatrix<'static>> {
    let mut lines = Lines::open(path, should_stop)?;
    header(&mut lines)?;
    let [rows, columns, n_entries] = loop {
        match lines.next()? {
            None => return Err(error(path, "is cut short: it has no size")),
            Some(line) if line.is_empty() || line.starts_with(b"%") => {}
            Some(line) => match size(line) {
                Some(size) => break size,
                None => {
                    return Err(lines.damaged("should hold three numbers: genes, cells, entries"))
                }
            },
        }
    };
    if [rows, columns] != [n_genes, n_cells] {
        return Err(error(
            path,
            format_args!(
                "has {rows} genes and {columns} cells, but {n_genes} genes and {n_cells} cells are named beside it"
            ),
        ));
    }
    let mut entries = Entries::with_room(n_entries.min(FIRST_ENTRIES), n_cells);
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            continue;
        }
        let Some((gene, cell, value)) = entry(line) else {
            return Err(lines.damaged("should hold three numbers: gene, cell, count"));
        };
        if !(1..=n_genes).contains(&gene) || !(1..=n_cells).contains(&cell) {
            return Err(lines.damaged(format_args!(
                "has gene {gene} and cell {cell} where {n_genes} and {n_cells} are named"
            )));
        }
        let value = checked(cell - 1, gene - 1, value).map_err(|e| match e {
            Error::Counts(text) => Error::Counts(format!("'{}': {text}", path.display())),
            e => e,
        })?;
        entries
            .push(cell - 1, (gene - 1) as u32, value)
            .map_err(|n| {
                error(
                    path,
                    format_args!("has {n} entries, more than the memory holds"),
                )
            })?;
    }
    if entries.values.len() != n_entries {
        return Err(error(
            path,
            format_args!(
                "claims {n_entries} entries and holds {}; it may be cut short",
                entries.values.len()
            ),
        ));
    }
    entries.into_matrix(n_genes, should_stop)
}

fn header(lines: &mut Lines) -> Result<()> {
    let line = lines.next()?.unwrap_or_default();
    let text = String::from_utf8_lossy(line).to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    match &words[..] {
        ["%%matrixmarket", "matrix", "coordinate", "integer" | "real", "general"] => Ok(()),
        ["%%matrixmarket", ..] => Err(error(
            lines.path,
            format_args!(
                "is a Matrix Market file of another kind ({}); a general coordinate matrix of integers is needed",
                words[1..].join(" ")
            ),
        )),
        _ => Err(error(
            lines.path,
            "is not a Matrix Market file: its first line should begin with %%MatrixMarket",
        )),
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

fn whole(word: &[u8]) -> Option<usize> {
    if word.is_empty() || word.len() > 18 {
        return None;
    }
    word.iter().try_fold(0usize, |n, b| {
        b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0'))
    })
}

fn size(line: &[u8]) -> Option<[usize; 3]> {
    let mut words = words(line).map(whole);
    let size = [words.next()??, words.next()??, words.next()??];
    words.next().is_none().then_some(size)
}

fn entry(line: &[u8]) -> Option<(usize, usize, f64)> {
    let mut words = words(line);
    let (gene, cell, value) = (words.next()?, words.next()?, words.next()?);
    let value = match whole(value) {
        Some(value) => value as f64,
        None => std::str::from_utf8(value).ok()?.parse().ok()?,
    };
    words.next().is_none().then_some(())?;
    Some((whole(gene)?, whole(cell)?, value))
}

/// Entries in the order of the file.
struct Entries {
    cells: Vec<u32>,
    genes: Vec<u32>,
    values: Vec<f32>,
    n_cells: usize,
}

impl Entries {
    fn with_room(n: usize, n_cells: usize) -> Self {
        Entries {
            cells: Vec::with_capacity(n),
            genes: Vec::with_capacity(n),
            values: Vec::with_capacity(n),
            n_cells,
        }
    }

    /// Fails with the number of entries when memory is at its end.
    fn push(&mut self, cell: usize, gene: u32, value: f32) -> std::result::Result<(), usize> {
        let n = self.values.len() + 1;
        if n > self.values.capacity() {
            let more = n / 2 + 1;
            self.cells.try_reserve(more).map_err(|_| n)?;
            self.genes.try_reserve(more).map_err(|_| n)?;
            self.values.try_reserve(more).map_err(|_| n)?;
        }
        self.cells.push(cell as u32);
        self.genes.push(gene);
        self.values.push(value);
        Ok(())
    }

    /// Compressed by cell.
    fn into_matrix(mut self, n_genes: usize, should_stop: Stop) -> Result<CountMatrix<'static>> {
        let mut offsets = vec![0; self.n_cells + 1];
        for &cell in &self.cells {
            offsets[cell as usize + 1] += 1;
        }
        for cell in 0..self.n_cells {
            offsets[cell + 1] += offsets[cell];
        }
        if !self.cells.is_sorted() {
            let mut next = offsets.clone();
            let mut genes = vec![0; self.genes.len()];
            let mut values = vec![0.0; self.genes.len()];
            for (i, &cell) in self.cells.iter().enumerate() {
                go_on(i, should_stop)?;
                let at = &mut next[cell as usize];
                genes[*at] = self.genes[i];
                values[*at] = self.values[i];
                *at += 1;
            }
            (self.genes, self.values) = (genes, values);
        }
        self.cells = Vec::new();
        sort_cells(should_stop, &offsets, &mut self.genes, &mut self.values)?;
        CountMatrix::from_csr_unless(should_stop, offsets, self.genes, self.values, n_genes)
    }
}
