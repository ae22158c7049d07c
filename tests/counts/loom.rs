//! `.loom`.

use hdf5::Group;
use proptest::prelude::*;
use scvae::counts::{Column, CountsFile, FileFormat, Selection};
use scvae::Error;

use super::h5ad::small;
use super::plain::{plain, Plain, BAD_VALUES};
use super::unstopped;
use super::write::{self, Encoding, Number, Storage, Text, Written};

/// A matrix of genes x cells.
fn dense(parent: &Group, name: &str, p: &Plain, storage: Storage) {
    write::matrix(parent, name, &p.transposed(), Encoding::Dense, storage);
}

pub fn file(p: &Plain, storage: Storage) -> Written {
    let written = Written::new("counts.loom");
    let root = written.root();
    dense(root, "matrix", p, storage);
    let cells = root.create_group("col_attrs").unwrap();
    let genes = root.create_group("row_attrs").unwrap();
    write::strings(&cells, "CellID", &p.cell_names(), Text::VariableUnicode);
    write::strings(&genes, "Gene", &p.gene_names(), Text::VariableUnicode);
    written
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // A matrix without cells cannot be told from one without genes in `Plain`.
    #[test]
    fn tiles_of_any_size_read_the_same(p in plain(), chunk in prop::option::of(1usize..9)) {
        prop_assume!(p.n_cells() > 0 && p.n_genes > 0);
        let storage = Storage { values: Number::I32, chunk, ..Storage::default() };
        let written = file(&p, storage).closed();
        let file = unstopped::read(&written.path, None).unwrap();
        prop_assert_eq!(&Plain::of(&file.matrix), &p);
        prop_assert_eq!(file.cell_names, p.cell_names());
        prop_assert_eq!(file.gene_names, p.gene_names());
        prop_assert_eq!(file.format, FileFormat::Loom);
        prop_assert_eq!(file.layer, "matrix");
    }
}

#[test]
fn a_matrix_larger_than_a_tile_is_read_whole() {
    let count = |i: usize, j: usize| (i * 7919 + j * 104_729) % 3;
    let row = |i| (0..1500).map(|j| count(i, j) as f64).collect();
    let p = Plain {
        rows: (0..1100).map(row).collect(),
        n_genes: 1500,
    };
    for chunk in [None, Some(64), Some(1500)] {
        let storage = Storage {
            values: Number::U8,
            chunk,
            ..Storage::default()
        };
        let written = file(&p, storage).closed();
        let file = unstopped::read(&written.path, None).unwrap();
        assert!(Plain::of(&file.matrix) == p, "{chunk:?}");
    }
}

#[test]
fn attributes_are_columns_and_layers_are_found() {
    let half = Plain {
        rows: vec![vec![0.0, 0.5, 0.0], vec![0.5, 0.0, 0.0]],
        n_genes: 3,
    };
    let written = file(&half, Storage::default());
    let root = written.root();
    let layers = root.create_group("layers").unwrap();
    dense(&layers, "counts", &small(), Storage::default());
    let cells = root.group("col_attrs").unwrap();
    write::strings(&cells, "Type", &["B", "T"], Text::FixedAscii);
    write::numbers(&cells, "Age", &[0.1, 61.0], Number::F64, None);
    let place = ndarray::Array2::<f64>::zeros((2, 2));
    let place = cells.new_dataset_builder().with_data(&place);
    place.create("Embedding").unwrap();
    let genes = root.group("row_attrs").unwrap();
    genes.unlink("Gene").unwrap();
    write::strings(&genes, "Gene", &["A", "B", "A"], Text::FixedAscii);
    write::strings(&genes, "Accession", &["E1", "E2", "E3"], Text::FixedAscii);
    let written = written.closed();

    let selection = Selection {
        annotation: true,
        ..Selection::default()
    };
    let file = CountsFile::read_selected(&written.path, &selection, &|| false).unwrap();
    assert_eq!(Plain::of(&file.matrix), small());
    assert_eq!(file.layer, "counts");
    assert_eq!(file.available, ["matrix", "counts"]);
    assert_eq!(file.passed_over[0].1, "holds 0.5, not a whole number");
    assert_eq!(file.gene_names, ["A", "B", "A.1"]);
    assert_eq!(file.gene_ids, ["E1", "E2", "E3"]);
    let names: Vec<&str> = file.cells.columns.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, ["Age", "CellID", "Type"]);
    let age = Column::Double(vec![Some(0.1), Some(61.0)]);
    assert_eq!(file.cells.columns[0].1, age);
    assert_eq!(file.cells.left_out[0].0, "Embedding");

    let columns = unstopped::obs_columns(&written.path).unwrap();
    assert_eq!(columns, ["Age", "CellID", "Embedding", "Type"]);
    let kinds = unstopped::obs_column(&written.path, "Type").unwrap();
    assert_eq!(kinds, [Some("B".to_string()), Some("T".to_string())]);
    for name in ["type", "", "../matrix"] {
        let Err(Error::File(text)) = unstopped::obs_column(&written.path, name) else {
            panic!("{name} should be refused");
        };
        assert!(
            text.ends_with("'Age', 'CellID', 'Embedding', 'Type'"),
            "{text}"
        );
    }
    let Err(Error::Counts(text)) = unstopped::read(&written.path, Some("matrix")) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("loom', matrix: raw counts are needed"),
        "{text}"
    );
    let Err(Error::File(text)) = unstopped::read(&written.path, Some("spliced")) else {
        panic!("should be refused");
    };
    assert!(
        text.ends_with("choose `layer` from 'matrix', 'counts'"),
        "{text}"
    );
}

#[test]
fn names_are_made_where_there_are_none() {
    let written = file(&small(), Storage::default());
    written.root().unlink("col_attrs/CellID").unwrap();
    written.root().unlink("row_attrs/Gene").unwrap();
    let written = written.closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.cell_names, ["cell1", "cell2"]);
    assert_eq!(file.gene_names, ["gene1", "gene2", "gene3"]);
}

#[test]
fn bad_values_and_damage_are_refused() {
    for (value, what) in BAD_VALUES {
        let mut p = small();
        p.rows[1][2] = value;
        let storage = Storage {
            values: Number::F64,
            ..Storage::default()
        };
        let written = file(&p, storage).closed();
        let Err(Error::Counts(text)) = unstopped::read(&written.path, None) else {
            panic!("{value} should be refused");
        };
        assert!(
            text.contains("gene 3 in cell 2 is") && text.contains(what),
            "{text}"
        );
    }
    let written = file(&small(), Storage::default());
    written.root().unlink("col_attrs/CellID").unwrap();
    let cells = written.root().group("col_attrs").unwrap();
    write::strings(&cells, "CellID", &["a"], Text::FixedAscii);
    let written = written.closed();
    let Err(Error::File(text)) = unstopped::read(&written.path, None) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("col_attrs/CellID has 1 values where 2 are needed"),
        "{text}"
    );
    let written = file(&small(), Storage::default());
    let layers = written.root().create_group("layers").unwrap();
    dense(&layers, "a", &small().transposed(), Storage::default());
    let written = written.closed();
    let Err(Error::File(text)) = unstopped::read(&written.path, Some("a")) else {
        panic!("should be refused");
    };
    assert!(text.contains("layers/a has shape [2, 3]"), "{text}");
}
