//! Files that cannot be used: each is refused as a file, with a text that names it and what is wrong.

use std::path::Path;

use proptest::prelude::*;
use scvae::Error;

use super::h5ad::small;
use super::plain::Plain;
use super::unstopped;
use super::write::{self, Encoding, Number, Storage, Text, Written};

fn refused(path: &Path) -> String {
    match unstopped::read(path, None) {
        Err(Error::File(text)) => {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(text.contains(name), "{text} does not name {name}");
            text
        }
        other => panic!(
            "should be refused as a file: {:?}",
            other.map(|f| f.available)
        ),
    }
}

#[test]
fn what_is_no_hdf5_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.h5ad");
    assert!(refused(&missing).contains("does not exist"));
    assert!(refused(folder.path()).contains("is a folder without matrix.mtx"));
    let text = folder.path().join("text.h5ad");
    std::fs::write(&text, "cell,gene\n1,2\n").unwrap();
    assert!(refused(&text).contains("is not an HDF5 file"));
    let empty = folder.path().join("empty.h5ad");
    std::fs::write(&empty, "").unwrap();
    assert!(refused(&empty).contains("is not an HDF5 file"));
    for result in [
        unstopped::obs_columns(&missing).map(|_| ()),
        unstopped::obs_column(&missing, "batch").map(|_| ()),
    ] {
        assert!(matches!(result, Err(Error::File(text)) if text.contains("does not exist")));
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    let written = write::h5ad(&small(), Encoding::Csc, Storage::default()).closed();
    let bytes = std::fs::read(&written.path).unwrap();
    for part in [1, 2, 3] {
        std::fs::write(&written.path, &bytes[..bytes.len() * part / 4]).unwrap();
        assert!(refused(&written.path).contains("cut short"));
    }
}

/// A matrix of 2 cells and 3 genes whose three arrays hold what they like.
fn any_arrays() -> impl Strategy<Value = [Vec<f64>; 3]> {
    let likely = prop::collection::vec(-1i8..5, 0..6);
    let extreme = prop::collection::vec(any::<i64>(), 0..4);
    let array = prop_oneof![
        likely.prop_map(|v| v.into_iter().map(f64::from).collect()),
        extreme.prop_map(|v| v.into_iter().map(|x| x as f64).collect()),
    ];
    let offsets = prop_oneof![
        Just(vec![0.0, 1.0, 3.0]),
        Just(vec![0.0, 2.0, 2.0, 3.0]),
        array.clone(),
    ];
    (offsets, array.clone(), array).prop_map(|(o, i, d)| [o, i, d])
}

proptest! {
    #[test]
    fn any_arrays_are_read_or_refused([offsets, indices, data] in any_arrays(), csc: bool) {
        let encoding = if csc { Encoding::Csc } else { Encoding::Csr { reversed: false } };
        let written = write::h5ad(&small(), encoding, Storage::default());
        replace(written.root(), "indptr", &offsets);
        replace(written.root(), "indices", &indices);
        replace(written.root(), "data", &data);
        let written = written.closed();
        match unstopped::read(&written.path, None) {
            Ok(file) => {
                let p = Plain::of(&file.matrix);
                prop_assert_eq!(p.rows.concat().iter().sum::<f64>(), data.iter().sum::<f64>());
            }
            Err(Error::File(_) | Error::Counts(_)) => {}
            Err(e) => prop_assert!(false, "wrong class: {:?}", e),
        }
    }
}

#[test]
fn a_foreign_hdf5_file_is_refused() {
    let written = Written::new("foreign.h5");
    for name in ["assays", "meta.data"] {
        written.root().create_group(name).unwrap();
    }
    let written = written.closed();
    let text = refused(&written.path);
    assert!(
        text.ends_with("at its top level it holds 'assays', 'meta.data'"),
        "{text}"
    );
    assert!(matches!(
        unstopped::obs_columns(&written.path),
        Err(Error::File(_))
    ));
}

/// Writes the small file by cell, lets `damage` spoil it, and expects a refusal that says `what`.
fn spoiled(what: &str, damage: impl FnOnce(&hdf5::File)) {
    let csr = Encoding::Csr { reversed: false };
    let written = write::h5ad(&small(), csr, Storage::default());
    damage(written.root());
    let written = written.closed();
    let text = refused(&written.path);
    assert!(text.contains(what), "{text} does not say {what}");
}

fn replace(file: &hdf5::File, name: &str, values: &[f64]) {
    let x = file.group("X").unwrap();
    x.unlink(name).unwrap();
    write::numbers(&x, name, values, Number::I64, None);
}

#[test]
fn damaged_arrays_are_refused() {
    spoiled("has no dataset X/indptr", |f| {
        f.group("X").unwrap().unlink("indptr").unwrap()
    });
    spoiled("has no dataset X/data", |f| {
        f.group("X").unwrap().unlink("data").unwrap()
    });
    spoiled("has 2 indices for 3 values", |f| {
        replace(f, "indices", &[1.0, 2.0])
    });
    spoiled("has 2 offsets where 3 are needed", |f| {
        replace(f, "indptr", &[0.0, 3.0])
    });
    spoiled("do not span", |f| replace(f, "indptr", &[0.0, 2.0, 4.0]));
    spoiled("do not span", |f| replace(f, "indptr", &[1.0, 2.0, 3.0]));
    spoiled("decrease", |f| {
        f.group("obs").unwrap().unlink("_index").unwrap();
        let names = ["a", "b", "c"];
        write::strings(&f.group("obs").unwrap(), "_index", &names, Text::FixedAscii);
        f.group("X").unwrap().delete_attr("shape").unwrap();
        replace(f, "indptr", &[0.0, 3.0, 2.0, 3.0])
    });
    spoiled("has index 3 where 3 are named", |f| {
        replace(f, "indices", &[1.0, 3.0, 0.0])
    });
    spoiled("has index -1 where 3 are named", |f| {
        replace(f, "indices", &[1.0, -1.0, 0.0])
    });
    spoiled("cannot be read", |f| {
        let x = f.group("X").unwrap();
        x.unlink("data").unwrap();
        write::strings(&x, "data", &["1", "2", "3"], Text::FixedAscii);
    });
}

#[test]
fn a_gene_named_twice_in_a_cell_is_refused() {
    for encoding in [Encoding::Csr { reversed: false }, Encoding::Csc] {
        let written = write::h5ad(&small(), encoding, Storage::default());
        // By cell: cell 1 has genes 2, 2; by gene: gene 2 has cells 1, 1.
        match encoding {
            Encoding::Csc => {
                replace(written.root(), "indptr", &[0.0, 1.0, 3.0, 3.0]);
                replace(written.root(), "indices", &[1.0, 0.0, 0.0]);
            }
            _ => replace(written.root(), "indices", &[1.0, 1.0, 0.0]),
        }
        let written = written.closed();
        let Err(Error::Counts(text)) = unstopped::read(&written.path, None) else {
            panic!("should be refused");
        };
        assert!(text.contains("cell 1 names gene 2 twice"), "{text}");
    }
}

#[test]
fn names_and_matrix_must_agree() {
    spoiled(
        "X has shape [2, 3], but 1 cells and 3 genes are named",
        |f| {
            f.unlink("obs").unwrap();
            write::frame(f, "obs", &["a"]);
        },
    );
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    written.root().unlink("var").unwrap();
    write::frame(written.root(), "var", &["a", "b", "c", "d"]);
    let written = written.closed();
    assert!(refused(&written.path).contains("2 cells and 4 genes are named"));
    spoiled("has no obs with an index", |f| {
        f.group("obs").unwrap().unlink("_index").unwrap()
    });
    spoiled("written by an anndata before 0.7", |f| {
        f.unlink("obs").unwrap();
        write::numbers(f, "obs", &[1.0, 2.0], Number::I32, None);
    });
}

#[test]
fn what_is_no_matrix_is_refused() {
    spoiled("stores X as dataframe", |f| {
        let x = f.group("X").unwrap();
        x.delete_attr("encoding-type").unwrap();
        write::attribute(&x, "encoding-type", "dataframe");
    });
    spoiled("a group without an encoding", |f| {
        let x = f.group("X").unwrap();
        x.delete_attr("encoding-type").unwrap();
    });
    spoiled("has no X, nor any other matrix", |f| f.unlink("X").unwrap());
    spoiled("MuData", |f| {
        f.unlink("X").unwrap();
        f.create_group("mod").unwrap();
    });
}

/// HDF5 writes no compression it lacks, so h5py wrote this file: two cells, two genes, dense, `compression="lzf"`.
#[test]
fn a_compression_hdf5_lacks_is_named() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/counts/lzf.h5ad");
    let text = refused(&path);
    let cure = "(filter 32000, lzf); save the file again with gzip compression";
    assert!(text.ends_with(cure), "{text}");
}
