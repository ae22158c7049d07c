//! The `.h5` files of CellRanger 3 and 2.

use hdf5::Group;
use proptest::prelude::*;
use scvae::counts::{Column, CountsFile, Features, FileFormat, Selection};
use scvae::Error;

use super::h5ad::small;
use super::plain::{plain, Plain};
use super::unstopped;
use super::write::{self, Encoding, Number, Storage, Text, Written};

fn ids(plain: &Plain) -> Vec<String> {
    (0..plain.n_genes).map(|i| format!("ENSG{i}")).collect()
}

/// What both versions of CellRanger share.
fn body(parent: &Group, name: &str, plain: &Plain) -> Group {
    let group = parent.create_group(name).unwrap();
    let storage = Storage {
        values: Number::I32,
        indices: Number::I64,
        ..Storage::default()
    };
    write::compressed(&group, &plain.by_cell(false, false), storage);
    let shape = [plain.n_genes, plain.n_cells()];
    write::indices(&group, "shape", &shape, Number::I32, None);
    write::strings(&group, "barcodes", &plain.cell_names(), Text::FixedAscii);
    group
}

pub fn version_3(plain: &Plain, names: &[&str], types: Option<&[&str]>) -> Written {
    let written = Written::new("filtered_feature_bc_matrix.h5");
    let group = body(written.root(), "matrix", plain);
    let features = group.create_group("features").unwrap();
    write::strings(&features, "id", &ids(plain), Text::FixedAscii);
    write::strings(&features, "name", names, Text::FixedAscii);
    if let Some(types) = types {
        write::strings(&features, "feature_type", types, Text::FixedUnicode);
    }
    written
}

fn version_2(genomes: &[(&str, &Plain)]) -> Written {
    let written = Written::new("filtered_gene_bc_matrices.h5");
    for (genome, plain) in genomes {
        let group = body(written.root(), genome, plain);
        write::strings(&group, "genes", &ids(plain), Text::FixedAscii);
        write::strings(&group, "gene_names", &plain.gene_names(), Text::FixedAscii);
    }
    written
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_versions_read_the_same(p in plain()) {
        let names = p.gene_names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for written in [version_3(&p, &names, None), version_2(&[("hg19", &p)])] {
            let written = written.closed();
            let file = unstopped::read(&written.path, None).unwrap();
            prop_assert_eq!(&Plain::of(&file.matrix), &p);
            prop_assert_eq!(file.cell_names, p.cell_names());
            prop_assert_eq!(file.gene_names, p.gene_names());
            prop_assert_eq!(file.gene_ids, ids(&p));
            prop_assert_eq!(file.format, FileFormat::TenX);
        }
    }
}

#[test]
fn gene_names_become_unique_and_ids_stay() {
    let written = version_3(&small(), &["A", "B", "A"], None).closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.gene_names, ["A", "B", "A.1"]);
    assert_eq!(file.gene_ids, ["ENSG0", "ENSG1", "ENSG2"]);
    assert_eq!(file.format.name(), "10x");
}

#[test]
fn only_gene_expression_is_kept() {
    let types = ["Gene Expression", "Antibody Capture", "Gene Expression"];
    let written = version_3(&small(), &["A", "CD3", "A"], Some(&types)).closed();
    let file = unstopped::read(&written.path, None).unwrap();
    let expected = Plain {
        rows: vec![vec![0.0, 1.0], vec![3.0, 0.0]],
        n_genes: 2,
    };
    assert_eq!(Plain::of(&file.matrix), expected);
    assert_eq!(file.gene_names, ["A", "A.1"]);
    assert_eq!(file.gene_ids, ["ENSG0", "ENSG2"]);

    let written = version_3(&small(), &["A", "B", "C"], Some(&["Peaks"; 3])).closed();
    let Err(Error::File(text)) = unstopped::read(&written.path, None) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("no gene expression; its features are 'Peaks'"),
        "{text}"
    );
}

fn selected(written: &Written, features: Features) -> scvae::Result<CountsFile> {
    let selection = Selection {
        features,
        annotation: true,
        ..Selection::default()
    };
    CountsFile::read_selected(&written.path, &selection, &|| false)
}

#[test]
fn features_of_other_types_are_counted_and_can_be_chosen() {
    let types = ["Gene Expression", "Antibody Capture", "Antibody Capture"];
    let written = version_3(&small(), &["A", "CD3", "CD4"], Some(&types)).closed();
    let file = selected(&written, Features::Expression).unwrap();
    assert_eq!(file.gene_names, ["A"]);
    assert_eq!(file.left_out, [("Antibody Capture".to_string(), 2)]);
    let columns: Vec<&str> = file.genes.columns.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(columns, ["gene_ids", "gene_symbols", "feature_types"]);
    let kinds = Column::Text(vec![Some("Gene Expression".into())]);
    assert_eq!(file.genes.columns[2].1, kinds);

    let file = selected(&written, Features::All).unwrap();
    assert_eq!(Plain::of(&file.matrix), small());
    assert!(file.left_out.is_empty());

    let antibodies = ["Antibody Capture".to_string()];
    let file = selected(&written, Features::Types(&antibodies)).unwrap();
    assert_eq!(file.gene_ids, ["ENSG1", "ENSG2"]);
    assert_eq!(file.left_out, [("Gene Expression".to_string(), 1)]);

    let typo = ["Antibodies".to_string()];
    let Err(Error::Argument(text)) = selected(&written, Features::Types(&typo)) else {
        panic!("should be refused");
    };
    let what = "no features of type 'Antibodies'; choose `feature_types` from 'Antibody Capture', 'Gene Expression'";
    assert!(text.ends_with(what), "{text}");
}

#[test]
fn types_of_features_are_refused_where_there_are_none() {
    let types = ["Gene Expression".to_string()];
    let csr = Encoding::Csr { reversed: false };
    for written in [
        version_2(&[("hg19", &small())]).closed(),
        write::h5ad(&small(), csr, Storage::default()).closed(),
    ] {
        let Err(Error::Argument(text)) = selected(&written, Features::Types(&types)) else {
            panic!("should be refused");
        };
        assert!(text.contains("knows no types of features"), "{text}");
        assert!(selected(&written, Features::Expression).is_ok());
    }
}

#[test]
fn types_that_h5ad_keeps_are_chosen_among_too() {
    let with_types = |types: &[&str]| {
        let csr = Encoding::Csr { reversed: false };
        let written = write::h5ad(&small(), csr, Storage::default());
        let var = written.root().group("var").unwrap();
        write::strings(&var, "feature_types", types, Text::VariableUnicode);
        written.closed()
    };
    let written = with_types(&["Gene Expression", "Antibody Capture", "Gene Expression"]);
    let file = selected(&written, Features::Expression).unwrap();
    let expected = Plain {
        rows: vec![vec![0.0, 1.0], vec![3.0, 0.0]],
        n_genes: 2,
    };
    assert_eq!(Plain::of(&file.matrix), expected);
    assert_eq!(file.gene_names, ["gene0", "gene2"]);
    assert_eq!(file.left_out, [("Antibody Capture".to_string(), 1)]);
    let kinds = Column::Text(vec![Some("Gene Expression".into()); 2]);
    assert_eq!(file.genes.columns, [("feature_types".to_string(), kinds)]);
    let antibodies = ["Antibody Capture".to_string()];
    let file = selected(&written, Features::Types(&antibodies)).unwrap();
    assert_eq!(file.gene_names, ["gene1"]);
    let file = selected(&written, Features::All).unwrap();
    assert_eq!(Plain::of(&file.matrix), small());

    // Types of somebody's own leave nothing out unless they are named.
    let written = with_types(&["protein_coding", "lncRNA", "protein_coding"]);
    let file = selected(&written, Features::Expression).unwrap();
    assert_eq!(Plain::of(&file.matrix), small());
    let coding = ["protein_coding".to_string()];
    let file = selected(&written, Features::Types(&coding)).unwrap();
    assert_eq!(file.gene_names, ["gene0", "gene2"]);
}

#[test]
fn of_several_genomes_one_is_chosen() {
    let (human, mouse) = (small(), small().transposed());
    let written = version_2(&[("hg19", &human), ("mm10", &mouse)]).closed();
    let Err(Error::File(text)) = unstopped::read(&written.path, None) else {
        panic!("should ask for a choice");
    };
    assert!(
        text.ends_with("choose one with `layer` from 'hg19', 'mm10'"),
        "{text}"
    );
    let file = unstopped::read(&written.path, Some("mm10")).unwrap();
    assert_eq!(Plain::of(&file.matrix), mouse);
    assert_eq!(file.available, ["hg19", "mm10"]);
    let Err(Error::Argument(text)) = unstopped::read(&written.path, Some("hg38")) else {
        panic!("should be refused");
    };
    let what = "has no genome 'hg38'; choose `layer` from 'hg19', 'mm10'";
    assert!(text.ends_with(what), "{text}");
}

#[test]
fn what_h5ad_has_and_10x_has_not_is_refused() {
    let written = version_3(&small(), &["A", "B", "C"], None).closed();
    let Err(Error::Argument(text)) = unstopped::read(&written.path, Some("counts")) else {
        panic!("should be refused");
    };
    assert!(text.contains("without layers"), "{text}");
    let columns = unstopped::obs_columns(&written.path).map(|_| ());
    let column = unstopped::obs_column(&written.path, "batch").map(|_| ());
    for result in [columns, column] {
        let Err(Error::File(text)) = result else {
            panic!("should be refused");
        };
        assert!(
            text.contains("10x Genomics file, which has no obs columns"),
            "{text}"
        );
    }
}

#[test]
fn damage_is_refused() {
    let file = || version_3(&small(), &["A", "B", "C"], None);
    let replace = |written: &Written, name: &str, values: &[f64]| {
        let group = written.root().group("matrix").unwrap();
        group.unlink(name).unwrap();
        write::numbers(&group, name, values, Number::I32, None);
    };
    for (name, values, what) in [
        ("shape", &[2.0, 3.0][..], "has shape [2, 3] (genes, cells)"),
        ("indptr", &[0.0, 3.0], "has 2 offsets where 3 are needed"),
        ("indices", &[1.0, 3.0, 0.0], "has index 3 where 3 are named"),
    ] {
        let written = file();
        replace(&written, name, values);
        let written = written.closed();
        let Err(Error::File(text)) = unstopped::read(&written.path, None) else {
            panic!("{name} should be refused");
        };
        assert!(text.contains("is damaged") && text.contains(what), "{text}");
    }
    let written = file();
    replace(&written, "data", &[2.0, -1.0, 3.0]);
    let written = written.closed();
    let Err(Error::Counts(text)) = unstopped::read(&written.path, None) else {
        panic!("should be refused");
    };
    assert!(
        text.contains("matrix.h5': ") && text.contains("gene 3 in cell 1 is -1, negative"),
        "{text}"
    );
}
