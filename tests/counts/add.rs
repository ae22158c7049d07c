//! Results added to an `.h5ad` file: all of them or none.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hdf5::types::VarLenUnicode;
use ndarray::{array, Array2};
use scvae::counts::{
    add_to_h5ad, h5ad_has, h5ad_names, Column, CountsFile, Entry, Selection, Slot, Value,
};
use scvae::{Error, Result};

use super::h5ad::small;
use super::plain::Plain;
use super::unstopped;
use super::write::{self, Encoding, Number, Storage, Text, Written};

fn entry(slot: Slot, name: &str, value: Value) -> Entry {
    let name = name.into();
    Entry { slot, name, value }
}

fn embedding() -> Array2<f64> {
    array![[0.1, -2.0], [f64::NAN, 1e-300]]
}

fn results() -> Vec<Entry> {
    let dict = |values: Vec<(&str, Value)>| {
        let values = values.into_iter();
        Value::Dict(values.map(|(name, value)| (name.into(), value)).collect())
    };
    let fit = dict(vec![
        ("lr", Value::Number(1e-3)),
        ("n_hidden", Value::Whole(128)),
        ("fc_layer", Value::Flag(true)),
        ("likelihood", Value::Text("zinb".into())),
        ("batches", Value::Texts(vec!["ä".into(), "b".into()])),
        (
            "history",
            dict(vec![("loss", Value::Numbers(vec![2.0, f64::NAN]))]),
        ),
    ]);
    vec![
        entry(Slot::Obsm, "X_scvae", Value::Matrix(embedding())),
        entry(
            Slot::Var,
            "scscore",
            Value::Numbers(vec![0.5, f64::NAN, 1.0]),
        ),
        entry(Slot::Uns, "scvae", fit),
    ]
}

fn add(path: &Path, entries: &[Entry], overwrite: bool) -> Result<()> {
    add_to_h5ad(path, entries, overwrite, &|| false)
}

/// As anndata writes it, with a column, a foreign entry and a layer.
fn file() -> Written {
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    let root = written.root();
    let var = root.group("var").unwrap();
    write::strings(&var, "symbol", &["A", "B", "C"], Text::VariableUnicode);
    let uns = root.create_group("uns").unwrap();
    write::numbers(&uns, "theirs", &[1.0], Number::F64, None);
    written
}

fn files_in(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn text(place: &hdf5::Location, name: &str) -> String {
    let attribute = place.attr(name).unwrap();
    attribute
        .read_scalar::<VarLenUnicode>()
        .unwrap()
        .to_string()
}

#[test]
fn results_are_added_in_anndatas_encodings() {
    let written = file().closed();
    add(&written.path, &results(), false).unwrap();

    let read = unstopped::read(&written.path, None).unwrap();
    assert_eq!(Plain::of(&read.matrix), small());
    let selection = Selection {
        annotation: true,
        ..Selection::default()
    };
    let read = CountsFile::read_selected(&written.path, &selection, &|| false).unwrap();
    let scores = Column::Double(vec![Some(0.5), None, Some(1.0)]);
    assert_eq!(read.genes.columns[1], ("scscore".to_string(), scores));
    assert_eq!(read.genes.columns[0].0, "symbol");

    let file = hdf5::File::open(&written.path).unwrap();
    let obsm = file.dataset("obsm/X_scvae").unwrap();
    let values: Vec<f64> = obsm.read_raw().unwrap();
    let expected = embedding().into_raw_vec_and_offset().0;
    assert_eq!(obsm.shape(), [2, 2]);
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&values), bits(&expected));
    for (place, kind, version) in [
        ("obsm/X_scvae", "array", "0.2.0"),
        ("var/scscore", "array", "0.2.0"),
        ("uns/scvae/lr", "numeric-scalar", "0.2.0"),
        ("uns/scvae/n_hidden", "numeric-scalar", "0.2.0"),
        ("uns/scvae/fc_layer", "numeric-scalar", "0.2.0"),
        ("uns/scvae/likelihood", "string", "0.2.0"),
        ("uns/scvae/batches", "string-array", "0.2.0"),
        ("uns/scvae/history/loss", "array", "0.2.0"),
    ] {
        let dataset = file.dataset(place).unwrap();
        assert_eq!(text(&dataset, "encoding-type"), kind, "{place}");
        assert_eq!(text(&dataset, "encoding-version"), version, "{place}");
    }
    for place in ["obsm", "uns/scvae", "uns/scvae/history"] {
        let group = file.group(place).unwrap();
        assert_eq!(text(&group, "encoding-type"), "dict", "{place}");
        assert_eq!(text(&group, "encoding-version"), "0.1.0", "{place}");
    }
    let flag = file.dataset("uns/scvae/fc_layer").unwrap();
    assert!(flag.read_scalar::<bool>().unwrap());
    assert!(file.link_exists("uns/theirs"));
    assert_eq!(files_in(written.path.parent().unwrap()), ["counts.h5ad"]);

    let (cells, genes) = h5ad_names(&written.path, &|| false).unwrap();
    assert_eq!((cells, genes), (small().cell_names(), small().gene_names()));
    let places = ["obsm/X_scvae".to_string(), "obsm/X_pca".to_string()];
    let there = h5ad_has(&written.path, &places, &|| false).unwrap();
    assert_eq!(there, ["obsm/X_scvae"]);
}

#[test]
fn files_of_old_anndata_stay_in_their_style() {
    let written = file();
    written.root().delete_attr("encoding-type").unwrap();
    let var = written.root().group("var").unwrap();
    let old = var.create_group("__categories").unwrap();
    write::strings(&old, "scscore", &["x"], Text::VariableUnicode);
    write::numbers(&var, "scscore", &[0.0, 0.0, 0.0], Number::I32, None);
    // What is open is not all in the file yet.
    drop((old, var));
    let written = written.closed();
    add(&written.path, &results(), true).unwrap();
    let file = hdf5::File::open(&written.path).unwrap();
    assert!(file.group("obsm").unwrap().attr("encoding-type").is_err());
    assert!(file
        .group("uns/scvae")
        .unwrap()
        .attr("encoding-type")
        .is_err());
    assert!(!file.link_exists("var/__categories/scscore"));
    let scores: Vec<f64> = file.dataset("var/scscore").unwrap().read_raw().unwrap();
    assert_eq!(scores[2], 1.0);
}

#[test]
fn entries_are_replaced_only_when_asked() {
    let written = file().closed();
    add(&written.path, &results(), false).unwrap();
    let before = std::fs::read(&written.path).unwrap();
    let Err(Error::Argument(text)) = add(&written.path, &results(), false) else {
        panic!("should be refused");
    };
    let what = "has 'obsm/X_scvae', 'var/scscore', 'uns/scvae' already";
    assert!(text.contains(what), "{text}");
    assert_eq!(std::fs::read(&written.path).unwrap(), before);

    let column = vec![entry(Slot::Var, "scscore", Value::Numbers(vec![1.0; 3]))];
    add(&written.path, &column, true).unwrap();
    add(&written.path, &column, true).unwrap();
    let file = hdf5::File::open(&written.path).unwrap();
    let order = file.group("var").unwrap().attr("column-order").unwrap();
    let order: Vec<VarLenUnicode> = order.read_raw().unwrap();
    let order: Vec<&str> = order.iter().map(|name| name.as_str()).collect();
    assert_eq!(order, ["symbol", "scscore"]);
    let scores: Vec<f64> = file.dataset("var/scscore").unwrap().read_raw().unwrap();
    assert_eq!(scores, [1.0; 3]);
    assert!(file.link_exists("obsm/X_scvae"));
}

#[test]
fn whenever_it_ends_too_soon_the_file_is_as_it_was() {
    let written = file().closed();
    let before = std::fs::read(&written.path).unwrap();
    let asked = AtomicUsize::new(0);
    let after = |n: usize| {
        asked.store(0, Relaxed);
        add_to_h5ad(&written.path, &results(), false, &|| {
            asked.fetch_add(1, Relaxed) >= n
        })
    };
    let mut stopped = 0;
    while after(stopped).is_err_and(|e| matches!(e, Error::Interrupted)) {
        stopped += 1;
        assert!(std::fs::read(&written.path).unwrap() == before);
        assert_eq!(files_in(written.path.parent().unwrap()), ["counts.h5ad"]);
    }
    // Some of these ends came after the first entry was written.
    assert!(stopped >= 7, "{stopped}");
    assert!(std::fs::read(&written.path).unwrap() != before);
}

/// The last entry cannot be written, when the others are.
#[test]
fn a_failure_in_the_middle_leaves_the_file_as_it_was() {
    let written = file();
    // No group: nothing can be put there.
    let root = written.root();
    write::numbers(root, "obsm", &[1.0], Number::F64, None);
    let written = written.closed();
    let before = std::fs::read(&written.path).unwrap();
    let mut entries = results();
    entries.rotate_left(1);
    let Err(Error::File(text)) = add(&written.path, &entries, true) else {
        panic!("should fail");
    };
    assert!(
        text.contains("counts.h5ad' could not be written and is as it was"),
        "{text}"
    );
    assert!(std::fs::read(&written.path).unwrap() == before);
    assert_eq!(files_in(written.path.parent().unwrap()), ["counts.h5ad"]);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let written = file().closed();
    let before = std::fs::read(&written.path).unwrap();
    let cases = [
        (
            entry(Slot::Obsm, "X", Value::Matrix(Array2::zeros((3, 2)))),
            "each of the 2 cells",
        ),
        (
            entry(Slot::Var, "x", Value::Numbers(vec![1.0; 2])),
            "or 3 genes",
        ),
        (
            entry(Slot::Var, "x", Value::Text("a".into())),
            "var/x must have",
        ),
        (
            entry(Slot::Uns, "a/b", Value::Flag(true)),
            "without a slash",
        ),
        (entry(Slot::Uns, "", Value::Flag(true)), "without a slash"),
        (
            entry(Slot::Uns, "a", Value::Texts(vec!["x\0y".into()])),
            "zero character: 'x\\u{0}y'",
        ),
    ];
    for (entry, what) in cases {
        let Err(Error::Argument(text)) = add(&written.path, &[entry], true) else {
            panic!("{what}: should be refused");
        };
        assert!(text.contains(what), "{text}");
    }
    assert!(std::fs::read(&written.path).unwrap() == before);

    let folder = written.path.parent().unwrap();
    let text = folder.join("text.h5ad");
    std::fs::write(&text, "text").unwrap();
    for (path, what) in [
        (folder.join("none.h5ad"), "does not exist"),
        (text, "is not an HDF5 file"),
    ] {
        let Err(Error::File(text)) = add(&path, &results(), false) else {
            panic!("{what}: should be refused");
        };
        assert!(text.contains(what), "{text}");
    }
    let other = Written::new("other.h5");
    other.root().create_group("matrix").unwrap();
    let other = other.closed();
    let Err(Error::File(text)) = add(&other.path, &results(), false) else {
        panic!("should be refused");
    };
    assert!(
        text.ends_with("is not an .h5ad file, which is needed"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_permissions_are_kept() {
    use std::os::unix::fs::{symlink, PermissionsExt};

    let written = file().closed();
    let permissions = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(&written.path, permissions).unwrap();
    let link = written.path.with_file_name("link.h5ad");
    symlink(&written.path, &link).unwrap();
    add(&link, &results(), false).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let about = std::fs::metadata(&written.path).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o640);
    assert!(hdf5::File::open(&written.path)
        .unwrap()
        .link_exists("obsm/X_scvae"));
}

#[test]
fn what_is_absent_is_removed() {
    let written = file().closed();
    add(&written.path, &results(), false).unwrap();
    let entries = [
        entry(Slot::Obsm, "X_scvae", Value::Absent),
        entry(Slot::Var, "scscore", Value::Absent),
        entry(Slot::Var, "never_there", Value::Absent),
    ];
    add(&written.path, &entries, true).unwrap();
    let places = ["obsm/X_scvae", "var/scscore", "uns/scvae"].map(String::from);
    let left = h5ad_has(&written.path, &places, &|| false).unwrap();
    assert_eq!(left, ["uns/scvae"]);
    let selection = Selection {
        annotation: true,
        ..Selection::default()
    };
    let read = CountsFile::read_selected(&written.path, &selection, &|| false).unwrap();
    let columns: Vec<&str> = read.genes.columns.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(columns, ["symbol"]);
    assert!(read.genes.left_out.is_empty());
}

#[test]
fn the_names_of_genes_are_never_replaced() {
    let written = file().closed();
    let before = std::fs::read(&written.path).unwrap();
    let scores = Value::Numbers(vec![1.0; 3]);
    let entries = [entry(Slot::Var, "_index", scores)];
    let Err(Error::Argument(text)) = add(&written.path, &entries, true) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("the names of its genes in var/_index"),
        "{text}"
    );
    assert_eq!(std::fs::read(&written.path).unwrap(), before);
}
