//! Folders of 10x Genomics: matrix, barcodes and features in text, packed or not.

use std::io::Write;
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::Compression;
use proptest::prelude::*;
use scvae::counts::{Column, CountsFile, Features, FileFormat, Selection};
use scvae::Error;
use tempfile::TempDir;

use super::h5ad::small;
use super::plain::{plain, Plain};
use super::unstopped;

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    if !name.ends_with(".gz") {
        return std::fs::write(path, text).unwrap();
    }
    let mut packed = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap();
}

fn matrix_text(p: &Plain, by_gene: bool) -> String {
    let mut entries = Vec::new();
    for (cell, row) in p.rows.iter().enumerate() {
        for (gene, value) in row.iter().enumerate().filter(|(_, &v)| v != 0.0) {
            entries.push((cell, gene, value));
        }
    }
    if by_gene {
        entries.sort_by_key(|&(cell, gene, _)| (gene, cell));
    }
    let size = format!("{} {} {}", p.n_genes, p.n_cells(), entries.len());
    let mut text = format!("%%MatrixMarket matrix coordinate integer general\n%\n{size}\n");
    for (cell, gene, value) in entries {
        text += &format!("{} {} {value}\n", gene + 1, cell + 1);
    }
    text
}

fn lines(names: &[String]) -> String {
    names.iter().map(|n| format!("{n}\n")).collect()
}

/// A folder of CellRanger 3 (`.gz`) or of CellRanger 2.
fn folder(p: &Plain, start: &str, version_3: bool, by_gene: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let gz = if version_3 { ".gz" } else { "" };
    put(
        at,
        &format!("{start}matrix.mtx{gz}"),
        &matrix_text(p, by_gene),
    );
    put(
        at,
        &format!("{start}barcodes.tsv{gz}"),
        &lines(&p.cell_names()),
    );
    let kind = if version_3 { "\tGene Expression" } else { "" };
    let names = p.gene_names();
    let rows = names.iter().enumerate();
    let rows: Vec<String> = rows.map(|(i, n)| format!("ENSG{i}\t{n}{kind}")).collect();
    let features = if version_3 { "features" } else { "genes" };
    put(at, &format!("{start}{features}.tsv{gz}"), &lines(&rows));
    folder
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_form_reads_the_same(p in plain(), version_3: bool, by_gene: bool, named: bool) {
        let start = if named { "GSM1_" } else { "" };
        let folder = folder(&p, start, version_3, by_gene);
        let file = unstopped::read(folder.path(), None).unwrap();
        prop_assert_eq!(&Plain::of(&file.matrix), &p);
        prop_assert_eq!(file.cell_names, p.cell_names());
        prop_assert_eq!(file.gene_names, p.gene_names());
        let ids: Vec<String> = (0..p.n_genes).map(|i| format!("ENSG{i}")).collect();
        prop_assert_eq!(file.gene_ids, ids);
        prop_assert_eq!(file.format, FileFormat::Mex);
    }
}

fn refused(path: &Path) -> String {
    match unstopped::read(path, None) {
        Err(Error::File(text) | Error::Counts(text)) => text,
        other => panic!("should be refused: {:?}", other.map(|f| f.layer)),
    }
}

#[test]
fn types_of_features_are_kept_apart() {
    let folder = folder(&small(), "", true, false);
    let features = "E0\tA\tGene Expression\nE1\tCD3\tAntibody Capture\nE2\tA\tGene Expression\n\n";
    put(folder.path(), "features.tsv.gz", features);
    let file = unstopped::read(folder.path(), None).unwrap();
    assert_eq!(file.gene_names, ["A", "A.1"]);
    assert_eq!(file.gene_ids, ["E0", "E2"]);
    assert_eq!(file.left_out, [("Antibody Capture".to_string(), 1)]);
    let selection = Selection {
        features: Features::All,
        annotation: true,
        ..Selection::default()
    };
    let file = CountsFile::read_selected(folder.path(), &selection, &|| false).unwrap();
    assert_eq!(Plain::of(&file.matrix), small());
    let symbols = ["A", "CD3", "A"].map(|s| Some(s.to_string())).to_vec();
    let expected = ("gene_symbols".to_string(), Column::Text(symbols));
    assert_eq!(file.genes.columns[1], expected);
}

#[test]
fn the_path_of_the_matrix_will_do_and_several_must_be_told_apart() {
    let folder = folder(&small(), "a_", true, false);
    for name in ["matrix.mtx", "barcodes.tsv", "features.tsv"] {
        let from = folder.path().join(format!("a_{name}.gz"));
        std::fs::copy(from, folder.path().join(format!("b_{name}.gz"))).unwrap();
    }
    let text = refused(folder.path());
    assert!(
        text.ends_with("several matrices; give the path of one: 'a_matrix.mtx', 'b_matrix.mtx'"),
        "{text}"
    );
    let file = unstopped::read(folder.path().join("b_matrix.mtx.gz"), None).unwrap();
    assert_eq!(Plain::of(&file.matrix), small());
    std::fs::remove_file(folder.path().join("b_barcodes.tsv.gz")).unwrap();
    let text = refused(&folder.path().join("b_matrix.mtx.gz"));
    assert!(
        text.ends_with("one of 'b_barcodes.tsv', 'b_barcodes.tsv.gz'"),
        "{text}"
    );
}

#[test]
fn a_folder_above_names_the_one_below() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("filtered_feature_bc_matrix");
    std::fs::create_dir(&below).unwrap();
    put(&below, "matrix.mtx.gz", "");
    let text = refused(folder.path());
    assert!(
        text.ends_with("there is one in 'filtered_feature_bc_matrix'"),
        "{text}"
    );
}

#[test]
fn numbers_as_programs_write_them() {
    let folder = folder(&small(), "", false, false);
    let text = "%%MatrixMarket matrix coordinate real general\r\n% written by R\r\n3 2 3\r\n  3   1  1.0\r\n2 1 2e0\r\n\
                1\t2\t3\r\n\r\n";
    put(folder.path(), "matrix.mtx", text);
    let file = unstopped::read(folder.path(), None).unwrap();
    assert_eq!(Plain::of(&file.matrix), small());
}

#[test]
fn damage_is_refused_and_named() {
    let head = "%%MatrixMarket matrix coordinate integer general\n";
    let cases = [
        ("", "is not a Matrix Market file"),
        ("gene,cell\n", "is not a Matrix Market file"),
        (
            "%%MatrixMarket matrix array real general\n3 2\n",
            "of another kind (matrix array real general)",
        ),
        (
            "%%MatrixMarket matrix coordinate pattern general\n",
            "of another kind",
        ),
        (head, "it has no size"),
        (
            &format!("{head}3 2\n"),
            "line 2 should hold three numbers: genes",
        ),
        (
            &format!("{head}2 3 0\n"),
            "has 2 genes and 3 cells, but 3 genes and 2 cells",
        ),
        (
            &format!("{head}3 2 2\n1 1 1\n"),
            "claims 2 entries and holds 1; it may be cut short",
        ),
        (
            &format!("{head}3 2 99999999999999\n1 1 1\n"),
            "may be cut short",
        ),
        (
            &format!("{head}3 2 1\n1 1 1\n2 1 1\n"),
            "claims 1 entries and holds 2",
        ),
        (
            &format!("{head}3 2 1\n4 1 1\n"),
            "line 3 has gene 4 and cell 1",
        ),
        (
            &format!("{head}3 2 1\n0 1 1\n"),
            "line 3 has gene 0 and cell 1",
        ),
        (
            &format!("{head}3 2 1\n1 1\n"),
            "line 3 should hold three numbers: gene",
        ),
        (
            &format!("{head}3 2 1\n1 1 x\n"),
            "line 3 should hold three numbers: gene",
        ),
        (
            &format!("{head}3 2 1\n2 1 0.5\n"),
            "gene 2 in cell 1 is 0.5, not a whole",
        ),
        (
            &format!("{head}3 2 1\n2 1 -1\n"),
            "gene 2 in cell 1 is -1, negative",
        ),
        (
            &format!("{head}3 2 2\n2 1 1\n2 1 1\n"),
            "cell 1 names gene 2 twice",
        ),
    ];
    let folder = folder(&small(), "", false, false);
    for (text, what) in cases {
        put(folder.path(), "matrix.mtx", text);
        let said = refused(folder.path());
        assert!(said.contains(what), "{text}: {said}");
        assert!(
            said.contains("matrix.mtx") || said.contains("damaged"),
            "{said}"
        );
    }
    put(folder.path(), "matrix.mtx", &matrix_text(&small(), false));
    put(folder.path(), "barcodes.tsv", "cell\0\n");
    assert!(refused(folder.path()).contains("line 1 holds a zero byte"));
}

#[test]
fn a_packed_file_cut_short_is_refused() {
    let p = Plain {
        rows: (0..50)
            .map(|i| (0..40).map(|j| f64::from((i * 7 + j * 13) % 5)).collect())
            .collect(),
        n_genes: 40,
    };
    let folder = folder(&p, "", true, false);
    let path = folder.path().join("matrix.mtx.gz");
    let bytes = std::fs::read(&path).unwrap();
    for part in [1, 2, 3] {
        std::fs::write(&path, &bytes[..bytes.len() * part / 4]).unwrap();
        assert!(refused(folder.path()).contains("is cut short"));
    }
    // One bit, which the checksum tells.
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    refused(folder.path());
}

#[test]
fn a_folder_has_no_layers_and_reading_stops_when_asked_to() {
    let folder = folder(&small(), "", true, false);
    let Err(Error::Argument(text)) = unstopped::read(folder.path(), Some("counts")) else {
        panic!("should be refused");
    };
    assert!(text.contains("without layers"), "{text}");
    let result = CountsFile::read(folder.path(), None, &|| true);
    assert!(matches!(result, Err(Error::Interrupted)));
}
