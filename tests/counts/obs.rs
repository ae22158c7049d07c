//! Columns of `obs`, in all their encodings.

use scvae::counts::{Column, CountsFile, Selection};
use scvae::Error;

use super::h5ad::small;
use super::unstopped;
use super::write::{self, Encoding, Number, Storage, Text, Written};

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|v| Some(v.to_string())).collect()
}

/// The small file with every kind of column.
pub fn file() -> Written {
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    let obs = written.root().group("obs").unwrap();
    let group = |name| obs.create_group(name).unwrap();

    let type_ = group("type");
    write::strings(
        &type_,
        "categories",
        &["B", "T", "NK"],
        Text::VariableUnicode,
    );
    write::numbers(&type_, "codes", &[2.0, -1.0], Number::I32, None);
    let donor = group("donor");
    write::numbers(&donor, "categories", &[101.0, 107.0], Number::I64, None);
    write::numbers(&donor, "codes", &[0.0, 0.0], Number::U8, None);
    write::strings(&obs, "plate", &["p1", "p2"], Text::FixedAscii);
    write::numbers(&obs, "n", &[-3.0, 4e9], Number::I64, None);
    write::numbers(&obs, "whole", &[3.0, 2e15], Number::F64, None);
    write::numbers(&obs, "share", &[0.1, f64::NAN], Number::F32, None);
    let dataset = obs.new_dataset_builder().with_data(&[true, false]);
    dataset.create("doublet").unwrap();
    let age = group("age");
    write::numbers(&age, "values", &[61.0, 1.0], Number::I64, None);
    let dataset = age.new_dataset_builder().with_data(&[false, true]);
    dataset.create("mask").unwrap();
    // As anndata 0.7: codes as the column, categories beside the columns.
    write::numbers(&obs, "old", &[1.0, 0.0], Number::I32, None);
    let old = group("__categories");
    write::strings(&old, "old", &["x", "y"], Text::VariableUnicode);
    // A name with a slash lies in a group.
    write::numbers(&group("qc"), "mt", &[1.0, 2.0], Number::I32, None);
    written
}

#[test]
fn columns_of_every_kind_are_read() {
    let written = file().closed();
    let read = |name| unstopped::obs_column(&written.path, name).unwrap();
    assert_eq!(read("type"), [Some("NK".to_string()), None]);
    assert_eq!(read("donor"), some(&["101", "101"]));
    assert_eq!(read("plate"), some(&["p1", "p2"]));
    assert_eq!(read("n"), some(&["-3", "4000000000"]));
    assert_eq!(read("whole"), some(&["3", "2000000000000000"]));
    assert_eq!(read("share"), [Some("0.1".to_string()), None]);
    assert_eq!(read("doublet"), some(&["TRUE", "FALSE"]));
    assert_eq!(read("age"), [Some("61".to_string()), None]);
    assert_eq!(read("old"), some(&["y", "x"]));
    assert_eq!(read("qc/mt"), some(&["1", "2"]));
    assert_eq!(read("_index"), some(&["cell0", "cell1"]));
}

#[test]
fn columns_are_listed_in_the_order_of_the_file() {
    let written = file();
    let obs = written.root().group("obs").unwrap();
    obs.delete_attr("column-order").unwrap();
    let order: Vec<hdf5::types::VarLenUnicode> = ["plate", "qc/mt", "age", "gone"]
        .map(|s| s.parse().unwrap())
        .to_vec();
    let attribute = obs.new_attr_builder().with_data(&order);
    attribute.create("column-order").unwrap();
    let written = written.closed();
    assert_eq!(
        unstopped::obs_columns(&written.path).unwrap(),
        ["plate", "qc/mt", "age"]
    );
}

#[test]
fn columns_are_listed_where_the_order_is_not_said() {
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    let obs = written.root().group("obs").unwrap();
    write::strings(&obs, "plate", &["p1", "p2"], Text::FixedAscii);
    write::numbers(&obs, "n", &[1.0, 2.0], Number::I64, None);
    let written = written.closed();
    assert_eq!(
        unstopped::obs_columns(&written.path).unwrap(),
        ["n", "plate"]
    );
}

#[test]
fn an_unknown_column_lists_those_there_are() {
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    let obs = written.root().group("obs").unwrap();
    write::strings(&obs, "plate", &["p1", "p2"], Text::FixedAscii);
    write::numbers(&obs, "n", &[1.0, 2.0], Number::I64, None);
    let written = written.closed();
    for name in ["batch", ""] {
        let Err(Error::File(text)) = unstopped::obs_column(&written.path, name) else {
            panic!("should be refused");
        };
        let expected = format!("has no obs column '{name}'; its columns are 'n', 'plate'");
        assert!(text.ends_with(&expected), "{text}");
    }
}

#[test]
fn damaged_columns_are_refused() {
    let written = write::h5ad(&small(), Encoding::Dense, Storage::default());
    let obs = written.root().group("obs").unwrap();
    let code = obs.create_group("code").unwrap();
    write::strings(&code, "categories", &["B"], Text::VariableUnicode);
    write::numbers(&code, "codes", &[0.0, 1.0], Number::I32, None);
    let mask = obs.create_group("mask").unwrap();
    write::numbers(&mask, "values", &[0.0, 1.0], Number::I32, None);
    write::numbers(&mask, "mask", &[0.0], Number::U8, None);
    obs.create_group("strange").unwrap();
    write::numbers(&obs, "short", &[1.0], Number::I32, None);
    let written = written.closed();
    for (name, what) in [
        ("code", "code 1 for 1 categories"),
        ("mask", "obs/mask/mask has 1 values where 2 are needed"),
        ("strange", "does not read"),
        ("short", "obs/short has 1 values where 2 are needed"),
    ] {
        let Err(Error::File(text)) = unstopped::obs_column(&written.path, name) else {
            panic!("{name} should be refused");
        };
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn columns_keep_their_types() {
    let written = file();
    let obs = written.root().group("obs").unwrap();
    let ordered = obs.group("donor").unwrap();
    let attribute = ordered.new_attr::<bool>().create("ordered").unwrap();
    attribute.write_scalar(&true).unwrap();
    let big = obs.new_dataset_builder().with_data(&[u64::MAX, 1]);
    big.create("big").unwrap();
    obs.create_group("strange").unwrap();
    let var = written.root().group("var").unwrap();
    write::numbers(&var, "mean", &[0.1, 0.2, 1e-300], Number::F64, None);
    let written = written.closed();
    let selection = Selection {
        annotation: true,
        ..Selection::default()
    };
    let file = CountsFile::read_selected(&written.path, &selection, &|| false).unwrap();
    let column = |name: &str| {
        let mut columns = file.cells.columns.iter();
        columns.find(|c| c.0 == name).unwrap().1.clone()
    };
    let text = |v: &str| Some(v.to_string());
    let categories = |codes: [Option<u32>; 2], levels: &[&str], ordered| Column::Categories {
        codes: codes.to_vec(),
        levels: levels.iter().map(|l| l.to_string()).collect(),
        ordered,
    };
    let types = ["B", "T", "NK"];
    assert_eq!(column("type"), categories([Some(2), None], &types, false));
    let donors = ["101", "107"];
    assert_eq!(
        column("donor"),
        categories([Some(0), Some(0)], &donors, true)
    );
    assert_eq!(
        column("old"),
        categories([Some(1), Some(0)], &["x", "y"], false)
    );
    assert_eq!(column("plate"), Column::Text(vec![text("p1"), text("p2")]));
    let n = vec![Some(-3), Some(4_000_000_000)];
    assert_eq!(column("n"), Column::Integer(n));
    assert_eq!(column("whole"), Column::Double(vec![Some(3.0), Some(2e15)]));
    assert_eq!(column("share"), Column::Single(vec![Some(0.1), None]));
    let doublet = vec![Some(true), Some(false)];
    assert_eq!(column("doublet"), Column::Logical(doublet));
    assert_eq!(column("age"), Column::Integer(vec![Some(61), None]));
    let big = Column::Text(vec![text("18446744073709551615"), text("1")]);
    assert_eq!(column("big"), big);
    let mean = vec![Some(0.1), Some(0.2), Some(1e-300)];
    assert_eq!(
        file.genes.columns,
        [("mean".to_string(), Column::Double(mean))]
    );
    // A group within the table is a column of no known kind, too.
    let left_out: Vec<&str> = file.cells.left_out.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(left_out, ["qc", "strange"]);
    // Nobody asked for it.
    let file = unstopped::read(&written.path, None).unwrap();
    assert!(file.cells.columns.is_empty() && file.genes.columns.is_empty());
}
