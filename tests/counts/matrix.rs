//! The matrix in memory: its two kinds of memory agree, its checks refuse, its filter does what a naive one does.

use proptest::prelude::*;
use scvae::counts::{filter, CountMatrix, CountsView};
use scvae::Error;

use super::plain::{plain, plain_with_entry, Plain, BAD_VALUES};

struct Dgc {
    p: Vec<i32>,
    i: Vec<i32>,
    x: Vec<f64>,
}

impl Dgc {
    fn of(plain: &Plain, zeros: bool) -> Self {
        let (p, i, x) = plain.by_cell(zeros, false);
        Dgc {
            p: p.iter().map(|&v| v as i32).collect(),
            i: i.iter().map(|&v| v as i32).collect(),
            x,
        }
    }

    fn matrix(&self, n_genes: usize) -> scvae::Result<CountMatrix<'_>> {
        CountMatrix::from_dgc(&self.p, &self.i, &self.x, n_genes, &|| false)
    }
}

fn csr(plain: &Plain, zeros: bool) -> scvae::Result<CountMatrix<'static>> {
    let (offsets, genes, values) = plain.by_cell(zeros, false);
    CountMatrix::from_csr(
        offsets,
        genes.iter().map(|&g| g as u32).collect(),
        values.iter().map(|&v| v as f32).collect(),
        plain.n_genes,
    )
}

/// The paper's filter, word for word: cells and genes that stay.
fn naive_filter(p: &Plain, min_cells: usize, min_genes: usize) -> (Vec<usize>, Vec<usize>) {
    let genes: Vec<usize> = (0..p.n_genes)
        .filter(|&g| p.rows.iter().filter(|row| row[g] > 0.0).count() >= min_cells)
        .collect();
    let cells = (0..p.n_cells())
        .filter(|&c| genes.iter().filter(|&&g| p.rows[c][g] > 0.0).count() >= min_genes)
        .collect();
    (cells, genes)
}

fn refused(result: scvae::Result<CountMatrix<'_>>) -> String {
    match result {
        Err(Error::Counts(text)) => text,
        other => panic!("should be refused as counts: {other:?}"),
    }
}

proptest! {
    #[test]
    fn memory_of_r_and_of_our_own_agree(p in plain(), zeros: bool) {
        let dgc = Dgc::of(&p, zeros);
        let borrowed = dgc.matrix(p.n_genes).unwrap();
        let owned = csr(&p, zeros).unwrap();
        prop_assert_eq!((owned.n_cells(), owned.n_genes()), (p.n_cells(), p.n_genes));
        prop_assert_eq!(&Plain::of(&owned), &p);
        prop_assert_eq!(&Plain::of(&borrowed), &p);
    }

    #[test]
    fn filter_is_the_naive_one(p in plain(), zeros: bool, min_cells in 0usize..5, min_genes in 0usize..5) {
        let matrix = csr(&p, zeros).unwrap();
        let (cells, genes) = naive_filter(&p, min_cells, min_genes);
        let empty = p.rows.iter().flatten().all(|&v| v == 0.0);
        match filter(&matrix, min_cells, min_genes) {
            Ok(view) => {
                prop_assert!(!empty && cells.len() >= 2 && genes.len() >= 2);
                prop_assert_eq!(view.cells(), &cells[..]);
                prop_assert_eq!(view.genes(), genes.clone());
                prop_assert_eq!((view.n_cells(), view.n_genes()), (cells.len(), genes.len()));
                for (number, &cell) in cells.iter().enumerate() {
                    let mut row = vec![0.0; genes.len()];
                    view.for_each_in_cell(number, |g, v| row[g as usize] = f64::from(v));
                    let expected: Vec<f64> = genes.iter().map(|&g| p.rows[cell][g]).collect();
                    prop_assert_eq!(view.library(number), expected.iter().sum::<f64>());
                    prop_assert_eq!(row, expected);
                }
            }
            Err(Error::Counts(text)) => {
                prop_assert!(empty || cells.len() < 2 || genes.len() < 2, "{}", text);
                if !empty {
                    let left = format!("leaves {} of {} genes", genes.len(), p.n_genes);
                    prop_assert!(text.contains(&left), "{}", text);
                }
            }
            Err(e) => prop_assert!(false, "wrong class: {:?}", e),
        }
    }

    #[test]
    fn bad_values_are_refused_by_gene_and_cell(
        (mut p, cell, gene) in plain_with_entry(), bad in 0..BAD_VALUES.len(),
    ) {
        let (value, what) = BAD_VALUES[bad];
        p.rows[cell][gene] = value;
        let place = format!("gene {} in cell {} is", gene + 1, cell + 1);
        let text = refused(Dgc::of(&p, false).matrix(p.n_genes));
        prop_assert!(text.contains(&place) && text.contains(what), "{}", text);
        // Single precision holds these as other values, which are counts.
        if f64::from(value as f32) == value || value.is_nan() {
            let text = refused(csr(&p, false));
            prop_assert!(text.contains(&place) && text.contains(what), "{}", text);
        }
    }
}

/// What the refusal says, offsets, genes, values.
type Damage<'a> = (&'a str, &'a [i32], &'a [i32], &'a [f64]);

#[test]
fn damaged_structure_is_refused() {
    // Cells: (gene 1: 5, gene 3: 1), (gene 2: 2) of three genes.
    let good = (vec![0, 2, 3], vec![0, 2, 1], vec![5.0, 1.0, 2.0]);
    let (p, i, x) = (&good.0[..], &good.1[..], &good.2[..]);
    let span = "do not span";
    let cases: [Damage; 10] = [
        (span, &[], i, x),
        (span, &[1, 2, 3], i, x),
        (span, &[0, 2, 4], i, x),
        (span, &[0, 2, 2], i, x),
        ("decrease", &[0, 3, 2, 3], i, x),
        ("3 gene indices but 2 values", p, i, &[5.0, 1.0]),
        ("2 gene indices but 3 values", p, &[0, 2], x),
        ("cell 1 has a count for gene 4 of 3", p, &[0, 3, 1], x),
        ("cell 1 names gene 3 twice", p, &[2, 2, 1], x),
        ("or its genes are not in increasing order", p, &[2, 0, 1], x),
    ];
    assert!(CountMatrix::from_dgc(&good.0, &good.1, &good.2, 3, &|| false).is_ok());
    for (what, p, i, x) in cases {
        let text = refused(CountMatrix::from_dgc(p, i, x, 3, &|| false));
        assert!(text.contains(what), "{what}: {text}");
        let text = refused(CountMatrix::from_csr(
            p.iter().map(|&v| v as usize).collect(),
            i.iter().map(|&v| v as u32).collect(),
            x.iter().map(|&v| v as f32).collect(),
            3,
        ));
        assert!(text.contains(what), "{what}: {text}");
    }
    let text = refused(CountMatrix::from_dgc(
        &good.0,
        &[-1, 2, 1],
        &good.2,
        3,
        &|| false,
    ));
    assert!(text.contains("count for gene 0 of 3"), "{text}");
    let text = refused(CountMatrix::from_dgc(
        &[0, -1, 3],
        &good.1,
        &good.2,
        3,
        &|| false,
    ));
    assert!(text.contains("decrease"), "{text}");
}

#[test]
fn all_zero_counts_are_refused() {
    let p = Plain {
        rows: vec![vec![0.0; 3]; 3],
        n_genes: 3,
    };
    let matrix = csr(&p, true).unwrap();
    match filter(&matrix, 0, 0) {
        Err(Error::Counts(text)) => assert_eq!(text, "all counts are zero"),
        other => panic!("should be refused: {other:?}"),
    }
}

#[test]
fn a_view_renumbers_genes() {
    let p = Plain {
        rows: vec![vec![1.0, 2.0, 3.0], vec![0.0, 4.0, 5.0]],
        n_genes: 3,
    };
    let matrix = csr(&p, false).unwrap();
    // The model knows four genes; gene 1 of the matrix is its gene 4, gene 3 its gene 1.
    let view = CountsView::new(&matrix, vec![1, 0, 1], &[Some(3), None, Some(0)], 4).unwrap();
    assert_eq!((view.n_cells(), view.n_genes()), (3, 4));
    assert_eq!(view.cells(), [1, 0, 1]);
    assert_eq!(view.genes(), [2, 0]);
    let mut seen = vec![];
    view.for_each_in_cell(1, |g, v| seen.push((g, v)));
    assert_eq!(seen, [(3, 1.0), (0, 3.0)]);
    assert_eq!(view.library(0), 5.0);
}

#[test]
fn a_view_refuses_what_does_not_fit() {
    let p = Plain {
        rows: vec![vec![1.0, 2.0]],
        n_genes: 2,
    };
    let matrix = csr(&p, false).unwrap();
    let cases: [(usize, &[Option<u32>], &str); 4] = [
        (1, &[Some(0), Some(1)], "outside"),
        (0, &[Some(0)], "outside"),
        (0, &[Some(0), Some(2)], "outside"),
        (0, &[Some(1), Some(1)], "stand for gene 2"),
    ];
    for (cell, position, what) in cases {
        match CountsView::new(&matrix, vec![cell], position, 2) {
            Err(Error::Argument(text)) => assert!(text.contains(what), "{text}"),
            other => panic!("should be refused: {other:?}"),
        }
    }
}
