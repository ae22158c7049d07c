//! The cells of the frozen models: a formula, so that every version has the same.

use scvae::counts::CountMatrix;

pub const N_CELLS: usize = 60;
pub const N_GENES: usize = 40;

/// A count between 0 and 7, zero more often than not; thirds of the cells differ, and so do halves of the cells.
fn count(cell: usize, gene: usize) -> f32 {
    let mut x = (cell * N_GENES + gene) as u32;
    for _ in 0..2 {
        x ^= x >> 16;
        x = x.wrapping_mul(0x045d_9f3b);
    }
    x ^= x >> 16;
    let most = 2 + 3 * u32::from(gene % 3 == cell % 3) + 2 * u32::from(gene % 7 == cell % 2);
    (x % (2 * most)).saturating_sub(most) as f32
}

pub fn matrix() -> CountMatrix<'static> {
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for cell in 0..N_CELLS {
        for gene in 0..N_GENES {
            let count = count(cell, gene);
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count);
            }
        }
        offsets.push(genes.len());
    }
    CountMatrix::from_csr(offsets, genes, values, N_GENES).unwrap()
}

pub fn gene_names() -> Vec<String> {
    (0..N_GENES).map(|gene| format!("gene{gene}")).collect()
}

/// The batches of a model, by the last word of its name.
pub struct Batches {
    /// Each cell's batch.
    pub codes: Vec<usize>,
    pub names: Vec<String>,
    /// Name and levels of each covariate.
    pub covariates: Vec<(String, Vec<String>)>,
    /// Each batch's level of each covariate.
    pub levels: Vec<Vec<usize>>,
}

pub fn batches(name: &str) -> Batches {
    let text = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    match name.rsplit('_').next() {
        Some("two") => Batches {
            codes: (0..N_CELLS).map(|cell| cell % 2).collect(),
            names: text(&["even", "odd"]),
            covariates: vec![("batch".into(), text(&["even", "odd"]))],
            levels: vec![vec![0], vec![1]],
        },
        Some("three") => Batches {
            codes: (0..N_CELLS).map(|cell| cell % 3).collect(),
            names: text(&["a", "b", "c"]),
            covariates: vec![("batch".into(), text(&["a", "b", "c"]))],
            levels: vec![vec![0], vec![1], vec![2]],
        },
        Some("one") => Batches {
            names: text(&["all"]),
            ..batches("none")
        },
        // Of the six combinations one does not occur.
        Some("covariates") => Batches {
            codes: (0..N_CELLS)
                .map(|cell| (2 * (cell % 3) + cell / 3 % 2).min(4))
                .collect(),
            names: text(&["a / 1", "a / 2", "b / 1", "b / 2", "c / 1"]),
            covariates: vec![
                ("donor".into(), text(&["a", "b", "c"])),
                ("chemistry".into(), text(&["1", "2"])),
            ],
            levels: [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]]
                .map(Vec::from)
                .to_vec(),
        },
        _ => Batches {
            codes: vec![0; N_CELLS],
            names: Vec::new(),
            covariates: Vec::new(),
            levels: vec![Vec::new()],
        },
    }
}
