//! `.h5ad`: every encoding gives the same matrix; X, raw and layers; names.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hdf5::types::FixedAscii;
use proptest::prelude::*;
use scvae::counts::{CountsFile, FileFormat};
use scvae::Error;

use super::plain::{plain, plain_with_entry, Plain, BAD_VALUES};
use super::unstopped;
use super::write::{self, Encoding, Number, Storage, Text, Written};

const ENCODINGS: [Encoding; 4] = [
    Encoding::Csr { reversed: false },
    Encoding::Csr { reversed: true },
    Encoding::Csc,
    Encoding::Dense,
];

fn storage() -> impl Strategy<Value = Storage> {
    use Number::*;
    let values = prop::sample::select(vec![I32, U32, I64, F32, F64]);
    let indices = prop::sample::select(vec![I32, U32, I64]);
    let chunk = prop::option::of(1usize..9);
    (values, indices, chunk, any::<bool>()).prop_map(|(values, indices, chunk, zeros)| Storage {
        values,
        indices,
        chunk,
        zeros,
    })
}

pub fn small() -> Plain {
    Plain {
        rows: vec![vec![0.0, 2.0, 1.0], vec![3.0, 0.0, 0.0]],
        n_genes: 3,
    }
}

fn times(plain: &Plain, factor: f64) -> Plain {
    let row = |r: &Vec<f64>| r.iter().map(|v| v * factor).collect();
    Plain {
        rows: plain.rows.iter().map(row).collect(),
        n_genes: plain.n_genes,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_encoding_reads_the_same(p in plain(), storage in storage()) {
        for encoding in ENCODINGS {
            let written = write::h5ad(&p, encoding, storage).closed();
            let file = unstopped::read(&written.path, None).unwrap();
            prop_assert_eq!(&Plain::of(&file.matrix), &p, "{:?}", encoding);
            prop_assert_eq!(file.cell_names, p.cell_names());
            prop_assert_eq!(&file.gene_names, &p.gene_names());
            prop_assert_eq!(&file.gene_ids, &file.gene_names);
            prop_assert_eq!(file.format, FileFormat::H5ad);
            prop_assert_eq!(&file.available, &["X"]);
        }
    }

    #[test]
    fn bad_values_are_refused_in_every_encoding(
        (mut p, cell, gene) in plain_with_entry(), bad in 0..BAD_VALUES.len(), chunk in 1usize..9,
    ) {
        let (value, what) = BAD_VALUES[bad];
        p.rows[cell][gene] = value;
        let storage = Storage { values: Number::F64, chunk: Some(chunk), ..Storage::default() };
        for encoding in ENCODINGS {
            let written = write::h5ad(&p, encoding, storage).closed();
            match unstopped::read(&written.path, None) {
                Err(Error::Counts(text)) => {
                    let place = format!("gene {} in cell {} is", gene + 1, cell + 1);
                    prop_assert!(text.contains(&place) && text.contains(what), "{}", text);
                    prop_assert!(text.contains("counts.h5ad', X: "), "{}", text);
                }
                other => prop_assert!(false, "{:?}: should be refused: {:?}", encoding, other.map(|_| ())),
            }
        }
    }
}

#[test]
fn a_matrix_larger_than_a_block_is_read_whole() {
    let count = |i: usize, j: usize| ((i * 7919 + j * 104_729) % 97) as f64 + 1.0;
    let row = |i| (0..900).map(|j| count(i, j)).collect();
    let p = Plain {
        rows: (0..1300).map(row).collect(),
        n_genes: 900,
    };
    for chunk in [None, Some(61), Some(70_001), Some(1_170_000)] {
        for encoding in [
            Encoding::Csr { reversed: false },
            Encoding::Csc,
            Encoding::Dense,
        ] {
            let storage = Storage {
                values: Number::U8,
                chunk,
                ..Storage::default()
            };
            // Chunks of 61 numbers are many: they are for the dense matrix, where they are 61 rows of 3 genes.
            if matches!(chunk, Some(61)) && !matches!(encoding, Encoding::Dense) {
                continue;
            }
            let written = write::h5ad(&p, encoding, storage).closed();
            let file = unstopped::read(&written.path, None).unwrap();
            assert!(Plain::of(&file.matrix) == p, "{encoding:?}, {chunk:?}");
        }
    }
}

#[test]
fn raw_and_layers_are_read_by_name() {
    let x = small();
    let raw = Plain {
        rows: vec![vec![1.0, 0.0, 0.0, 7.0], vec![0.0, 8.0, 0.0, 0.0]],
        n_genes: 4,
    };
    let written = write::h5ad(&x, Encoding::Dense, Storage::default());
    let root = written.root();
    let group = root.create_group("raw").unwrap();
    write::frame(&group, "var", &["r1", "r2", "r3", "r4"]);
    write::matrix(&group, "X", &raw, Encoding::Csc, Storage::default());
    let layers = root.create_group("layers").unwrap();
    for (name, factor) in [("spliced", 2.0), ("counts", 3.0)] {
        let csr = Encoding::Csr { reversed: false };
        write::matrix(&layers, name, &times(&x, factor), csr, Storage::default());
    }
    let written = written.closed();
    let read = |layer| unstopped::read(&written.path, layer).unwrap();

    let file = read(None);
    assert_eq!(Plain::of(&file.matrix), x);
    assert_eq!(file.available, ["X", "raw", "counts", "spliced"]);
    assert_eq!(Plain::of(&read(Some("X")).matrix), x);
    assert_eq!(Plain::of(&read(Some("counts")).matrix), times(&x, 3.0));
    assert_eq!(read(Some("spliced")).gene_names, x.gene_names());
    let file = read(Some("raw"));
    assert_eq!(Plain::of(&file.matrix), raw);
    assert_eq!(file.gene_names, ["r1", "r2", "r3", "r4"]);

    for name in ["nonsense", "", "counts/data", "../X"] {
        match unstopped::read(&written.path, Some(name)) {
            Err(Error::File(text)) => {
                assert!(text.contains("'X', 'raw', 'counts', 'spliced'"), "{text}")
            }
            other => panic!("should be refused: {:?}", other.map(|f| f.available)),
        }
    }
}

#[test]
fn values_that_are_no_counts_point_to_where_counts_are() {
    let written = write::h5ad(&times(&small(), 0.5), Encoding::Dense, Storage::default());
    let layers = written.root().create_group("layers").unwrap();
    let csr = Encoding::Csr { reversed: false };
    write::matrix(&layers, "counts", &small(), csr, Storage::default());
    let written = written.closed();
    let Err(Error::Counts(text)) = unstopped::read(&written.path, Some("X")) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("gene 3 in cell 1 is 0.5, not a whole number"),
        "{text}"
    );
    assert!(text.ends_with("choose `layer` from 'counts'"), "{text}");
}

/// A file whose matrices are the small one times these factors, dense or not in turn.
fn with_matrices(x: f64, raw: Option<f64>, layers: &[(&str, f64)]) -> Written {
    let csr = Encoding::Csr { reversed: false };
    let storage = Storage::default();
    let written = write::h5ad(&times(&small(), x), Encoding::Dense, storage);
    if let Some(factor) = raw {
        let group = written.root().create_group("raw").unwrap();
        write::frame(&group, "var", &["r1", "r2", "r3"]);
        write::matrix(&group, "X", &times(&small(), factor), csr, storage);
    }
    let group = written.root().create_group("layers").unwrap();
    for (name, factor) in layers {
        write::matrix(
            &group,
            name,
            &times(&small(), *factor),
            Encoding::Csc,
            storage,
        );
    }
    written.closed()
}

#[test]
fn counts_are_found_by_values_and_names() {
    let cases: [(Written, &str, f64, &[&str]); 7] = [
        (
            with_matrices(1.0, Some(2.0), &[("counts", 3.0)]),
            "X",
            1.0,
            &[],
        ),
        (
            with_matrices(0.5, Some(2.0), &[("counts", 3.0)]),
            "counts",
            3.0,
            &["X"],
        ),
        (
            with_matrices(0.5, Some(2.0), &[("spliced", 3.0)]),
            "raw",
            2.0,
            &["X"],
        ),
        (
            with_matrices(-0.5, Some(0.1), &[("spliced", 3.0)]),
            "spliced",
            3.0,
            &["X", "raw"],
        ),
        // Counts in name alone.
        (
            with_matrices(0.5, Some(2.0), &[("counts", 0.1)]),
            "raw",
            2.0,
            &["X", "counts"],
        ),
        // Nothing but zeros: counts only if there is nothing else.
        (
            with_matrices(0.0, None, &[("spliced", 4.0)]),
            "spliced",
            4.0,
            &["X"],
        ),
        (with_matrices(0.0, None, &[("scaled", 0.1)]), "X", 0.0, &[]),
    ];
    for (i, (written, layer, factor, passed_over)) in cases.iter().enumerate() {
        let file = unstopped::read(&written.path, None).unwrap();
        assert_eq!(file.layer, *layer, "{i}");
        assert_eq!(Plain::of(&file.matrix), times(&small(), *factor), "{i}");
        let passed: Vec<&str> = file.passed_over.iter().map(|p| p.0.as_str()).collect();
        assert_eq!(passed, *passed_over, "{i}");
        let first = if *layer == "raw" { "r1" } else { "gene0" };
        assert_eq!(file.gene_names[0], first, "{i}");
    }
    let passed = unstopped::read(&cases[1].0.path, None).unwrap().passed_over;
    assert_eq!(passed[0].1, "holds 0.5, not a whole number");
}

#[test]
fn layers_called_as_other_matrices_are_read_by_their_place() {
    let written = with_matrices(0.5, Some(0.1), &[("raw", 3.0), ("X", 0.2)]);
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.available, ["X", "raw", "layers/X", "layers/raw"]);
    assert_eq!(file.layer, "layers/raw");
    assert_eq!(Plain::of(&file.matrix), times(&small(), 3.0));
    assert_eq!(file.gene_names[0], "gene0");

    // Without X and raw a layer of that name is one among layers.
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    let root = written.root();
    root.unlink("X").unwrap();
    let layers = root.create_group("layers").unwrap();
    for (name, factor) in [("ambiguous", 2.0), ("raw", 3.0)] {
        let values = times(&small(), factor);
        write::matrix(&layers, name, &values, Encoding::Csc, Storage::default());
    }
    let written = written.closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.layer, "raw");
    assert_eq!(Plain::of(&file.matrix), times(&small(), 3.0));
}

#[test]
fn where_no_counts_are_found_it_is_said_what_was_looked_at() {
    let written = with_matrices(0.5, Some(-1.0), &[("scaled", -0.25)]);
    let Err(Error::Counts(text)) = unstopped::read(&written.path, None) else {
        panic!("should be refused");
    };
    let what = "counts.h5ad' holds no raw counts, which are needed: X holds 0.5, not a whole number; raw holds -2, \
                negative; scaled holds -0.75, negative";
    assert!(text.ends_with(what), "{text}");
    let written = with_matrices(0.5, None, &[("spliced", 1.0), ("unspliced", 2.0)]);
    let Err(Error::Counts(text)) = unstopped::read(&written.path, None) else {
        panic!("should be refused");
    };
    let what =
        "whole numbers in several layers; choose one with `layer` from 'spliced', 'unspliced'";
    assert!(text.ends_with(what), "{text}");
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    let root = written.root();
    root.unlink("X").unwrap();
    write::strings(root, "X", &["1"], Text::FixedAscii);
    let layers = root.create_group("layers").unwrap();
    write::matrix(&layers, "a", &small(), Encoding::Csc, Storage::default());
    let written = written.closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.layer, "a");
    assert_eq!(file.passed_over[0].0, "X");
}

#[test]
fn a_file_without_x_says_what_it_has() {
    let p = small();
    let written = Written::new("no_x.h5ad");
    let root = written.root();
    write::frame(root, "obs", &p.cell_names());
    write::frame(root, "var", &p.gene_names());
    let layers = root.create_group("layers").unwrap();
    write::matrix(&layers, "counts", &p, Encoding::Csc, Storage::default());
    let written = written.closed();
    let Err(Error::File(text)) = unstopped::read(&written.path, Some("X")) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("has no X; choose `layer` from 'counts'"),
        "{text}"
    );
    let Err(Error::File(text)) = unstopped::read(&written.path, Some("raw")) else {
        panic!("should be refused");
    };
    assert!(text.contains("has no raw counts"), "{text}");
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(Plain::of(&file.matrix), p);
}

#[test]
fn layouts_of_old_anndata_are_read() {
    let p = small();
    let written = Written::new("old.h5ad");
    let root = written.root();
    write::frame(root, "obs", &p.cell_names());
    write::frame(root, "var", &p.gene_names());
    write::h5sparse(root, "X", &p);
    write::h5sparse(root, "raw.X", &times(&p, 2.0));
    write::frame(root, "raw.var", &p.gene_names());
    let written = written.closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(Plain::of(&file.matrix), p);
    assert_eq!(file.available, ["X", "raw"]);
    let file = unstopped::read(&written.path, Some("raw")).unwrap();
    assert_eq!(Plain::of(&file.matrix), times(&p, 2.0));
}

#[test]
fn names_in_every_kind_of_text() {
    let p = small();
    let long = "x".repeat(650);
    let cases: [(Text, [&str; 2]); 5] = [
        (Text::VariableUnicode, ["zelle_ä", ""]),
        (Text::VariableAscii, ["AACG-1", "AACT-1"]),
        (Text::FixedUnicode, ["zelle_ä", "b"]),
        (Text::FixedAscii, ["AACGTTT-1", "b"]),
        (Text::LongFixedAscii, [&long, "b"]),
    ];
    for (text, names) in cases {
        let written = Written::new("names.h5ad");
        let root = written.root();
        // An index of another name than usual.
        let obs = root.create_group("obs").unwrap();
        write::attribute(&obs, "_index", "barcode");
        write::strings(&obs, "barcode", &names, text);
        write::frame(root, "var", &p.gene_names());
        write::matrix(root, "X", &p, Encoding::Dense, Storage::default());
        let written = written.closed();
        let file = unstopped::read(&written.path, None).unwrap();
        assert_eq!(file.cell_names, names, "{text:?}");
    }
}

/// Text of a fixed length, as HDF5 stores it, whatever its bytes are.
fn with_names<const N: usize>(names: &[[u8; N]]) -> Written {
    let p = small();
    let written = Written::new("names.h5ad");
    let root = written.root();
    let obs = root.create_group("obs").unwrap();
    let texts: Vec<FixedAscii<N>> = names
        .iter()
        // SAFETY: only written; reading makes no claim on what the bytes are.
        .map(|n| unsafe { FixedAscii::from_ascii_unchecked(n) })
        .collect();
    let builder = obs.new_dataset_builder().with_data(&texts);
    builder.create("_index").unwrap();
    write::frame(root, "var", &p.gene_names());
    write::matrix(root, "X", &p, Encoding::Dense, Storage::default());
    written
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let written = with_names(&[*b"M\xfcller", *b"M\0\xff\xff\xff\xff"]).closed();
    let Err(Error::File(text)) = unstopped::read(&written.path, None) else {
        panic!("should be refused");
    };
    let what = "holds text in obs/_index that is not UTF-8, such as 'M\u{fffd}ller'";
    assert!(text.contains(what), "{text}");
    // What follows the end of a text is not text.
    let written = with_names(&[*b"a\0\xff", *b"b\0\xff"]).closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.cell_names, ["a", "b"]);
}

#[test]
fn long_names_are_read_whole_or_refused() {
    let mut names = [[b'x'; 60_000], [b'y'; 60_000]];
    names[1][59_999] = b'z';
    let written = with_names(&names).closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.cell_names[1].as_bytes(), names[1]);
    let written = with_names(&[[b'x'; 70_000], [b'y'; 70_000]]).closed();
    let Err(Error::File(text)) = unstopped::read(&written.path, None) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("obs/_index as text of 70000 bytes each"),
        "{text}"
    );
}

#[test]
fn reading_stops_when_asked_to() {
    let encodings = [
        Encoding::Csr { reversed: false },
        Encoding::Csc,
        Encoding::Dense,
    ];
    for encoding in encodings {
        let written = write::h5ad(&small(), encoding, Storage::default()).closed();
        let asked = AtomicUsize::new(0);
        let after = |n: usize| {
            asked.store(0, Relaxed);
            CountsFile::read(&written.path, None, &|| asked.fetch_add(1, Relaxed) >= n)
        };
        assert!(after(usize::MAX).is_ok());
        let times = asked.load(Relaxed);
        assert!(times >= 4, "{encoding:?} asks {times} times");
        for n in 0..times {
            assert!(
                matches!(after(n), Err(Error::Interrupted)),
                "{encoding:?}, {n}"
            );
        }
    }
}
