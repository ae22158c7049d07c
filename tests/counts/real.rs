//! The real data sets. Every number here was counted with anndata and scipy.

use scvae::counts::filter;

use super::common::test_data;
use super::unstopped;

/// What a data set holds, and what the usual filter (genes in 3 cells, cells with 200 of these) leaves.
struct Facts {
    name: &'static str,
    size: (usize, usize),
    entries: usize,
    total: f64,
    left: (usize, usize),
    entries_left: usize,
    total_left: f64,
    first_and_last_cell: [&'static str; 2],
    first_and_last_gene: [&'static str; 2],
    columns: &'static [&'static str],
    cell_types: usize,
    /// A cell type and its number of cells.
    cell_type: (&'static str, usize),
    batches: usize,
    batch: (&'static str, usize),
}

fn size_of(column: &[Option<String>], value: &str) -> usize {
    let is = |v: &&Option<String>| v.as_deref() == Some(value);
    column.iter().filter(is).count()
}

fn kinds(column: &[Option<String>]) -> usize {
    assert!(column.iter().all(Option::is_some));
    let set: std::collections::HashSet<_> = column.iter().collect();
    set.len()
}

fn check(facts: Facts) {
    let Some(path) = test_data(facts.name) else {
        return;
    };
    let file = unstopped::read(&path, None).unwrap();
    let (mut entries, mut total) = (0, 0.0);
    for cell in 0..file.matrix.n_cells() {
        file.matrix.for_each_in_cell(cell, |_, v| {
            entries += 1;
            total += f64::from(v);
        });
    }
    assert_eq!((file.matrix.n_cells(), file.matrix.n_genes()), facts.size);
    assert_eq!((file.cell_names.len(), file.gene_names.len()), facts.size);
    assert_eq!((entries, total), (facts.entries, facts.total));
    let ends = |names: &[String]| [names[0].clone(), names[names.len() - 1].clone()];
    assert_eq!(ends(&file.cell_names), facts.first_and_last_cell);
    assert_eq!(ends(&file.gene_names), facts.first_and_last_gene);
    assert_eq!(file.available, ["X"]);

    let view = filter(&file.matrix, 3, 200).unwrap();
    let (mut entries, mut total) = (0, 0.0);
    for cell in 0..view.n_cells() {
        view.for_each_in_cell(cell, |_, _| entries += 1);
        total += view.library(cell);
    }
    assert_eq!((view.n_cells(), view.n_genes()), facts.left);
    assert_eq!((entries, total), (facts.entries_left, facts.total_left));

    assert_eq!(unstopped::obs_columns(&path).unwrap(), facts.columns);
    let cell_type = unstopped::obs_column(&path, "cell_type").unwrap();
    assert_eq!(cell_type.len(), facts.size.0);
    assert_eq!(kinds(&cell_type), facts.cell_types);
    assert_eq!(size_of(&cell_type, facts.cell_type.0), facts.cell_type.1);
    let batch = unstopped::obs_column(&path, "batch").unwrap();
    assert_eq!(kinds(&batch), facts.batches);
    assert_eq!(size_of(&batch, facts.batch.0), facts.batch.1);
}

#[test]
fn pbmc_facs_zheng() {
    check(Facts {
        name: "pbmc_facs_zheng",
        size: (3774, 16_791),
        entries: 2_702_861,
        total: 7_500_459.0,
        left: (3773, 14_072),
        entries_left: 2_699_085,
        total_left: 7_496_389.0,
        first_and_last_cell: [
            "CGTGATGATTTCAC-1-CD19_B",
            "AGCTGTGATTGTGG-1-CD8_CD45RA_Naive_Cytotoxic",
        ],
        first_and_last_gene: ["ENSG00000237683", "ENSG00000215699"],
        columns: &["cell_type", "batch", "subpop", "barcode"],
        cell_types: 10,
        cell_type: ("CD56+ NK", 673),
        batches: 1,
        batch: ("donorA", 3774),
    });
}

#[test]
fn celllines_tian() {
    check(Facts {
        name: "celllines_tian",
        size: (992, 11_533),
        entries: 5_429_092,
        total: 26_958_439.0,
        left: (992, 11_533),
        entries_left: 5_429_092,
        total_left: 26_958_439.0,
        first_and_last_cell: ["CELseq2_3cl:A1", "CELseq2_5cl_p3:p1_P8"],
        first_and_last_gene: ["ENSG00000000003", "ENSG00000283633"],
        columns: &[
            "cell_type",
            "batch",
            "protocol",
            "total_counts_all_genes",
            "non_mt_percent",
        ],
        cell_types: 5,
        cell_type: ("H838", 137),
        batches: 5,
        batch: ("Dropseq_3cl", 210),
    });
}

#[test]
fn pbmc_kang_ctrl() {
    check(Facts {
        name: "pbmc_kang_ctrl",
        size: (954, 9015),
        entries: 536_133,
        total: 1_414_868.0,
        left: (954, 8822),
        entries_left: 535_898,
        total_left: 1_414_630.0,
        first_and_last_cell: ["TCGCAAGAGCGATT-1", "ATACCACTCGGTAT-1"],
        first_and_last_gene: ["LINC00115", "PRMT2"],
        columns: &["cell_type", "batch", "condition"],
        cell_types: 8,
        cell_type: ("Megakaryocytes", 7),
        batches: 8,
        batch: ("donor_1039", 29),
    });
}

#[test]
fn mouse_bladder_han() {
    check(Facts {
        name: "mouse_bladder_han",
        size: (2100, 20_670),
        entries: 2_214_875,
        total: 4_528_297.0,
        left: (2100, 15_548),
        entries_left: 2_210_241,
        total_left: 4_523_556.0,
        first_and_last_cell: ["cell_0000", "cell_2099"],
        first_and_last_gene: ["gene_00000", "gene_20669"],
        columns: &["cell_type", "batch"],
        cell_types: 16,
        cell_type: ("cluster_16", 8),
        batches: 1,
        batch: ("bladder", 2100),
    });
}

#[test]
fn pbmc_kang_ctrl_12k_1287genes() {
    check(Facts {
        name: "pbmc_kang_ctrl_12k_1287genes",
        size: (12_261, 1287),
        entries: 4_266_127,
        total: 15_334_912.0,
        left: (12_100, 1287),
        entries_left: 4_236_299,
        total_left: 15_253_440.0,
        first_and_last_cell: ["AAACATACATTTCC-1", "TTTGCATGTTCATC-1"],
        first_and_last_gene: ["ENSG00000187608", "ENSG00000160310"],
        columns: &["cell_type", "batch", "tsne1", "tsne2"],
        cell_types: 8,
        cell_type: ("Dendritic cells", 203),
        batches: 8,
        batch: ("donor_101", 858),
    });
}
