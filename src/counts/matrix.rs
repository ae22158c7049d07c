//! A cells x genes count matrix, compressed by cell.

use crate::{go_on, Error, Result, Stop};

/// Raw counts, compressed by cell (CSR over cells; R's `dgCMatrix` of genes x cells is the same memory layout).
#[derive(Debug, Clone)]
pub struct CountMatrix<'a> {
    n_cells: usize,
    n_genes: usize,
    store: Store<'a>,
}

#[derive(Debug, Clone)]
enum Store<'a> {
    /// Memory of R's `dgCMatrix`: slots `p`, `i`, `x`.
    Borrowed {
        offsets: &'a [i32],
        genes: &'a [i32],
        values: &'a [f64],
    },
    Owned {
        offsets: Vec<usize>,
        genes: Vec<u32>,
        values: Vec<f32>,
    },
}

/// Above this a count is no longer exact in single precision.
const LARGEST_COUNT: f64 = 16_777_216.0;

impl CountMatrix<'_> {
    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.n_cells
    }

    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.n_genes
    }

    /// Number of counts above zero of one cell.
    pub fn n_detected(&self, cell: usize) -> usize {
        let mut n = 0;
        self.for_each_in_cell(cell, |_, _| n += 1);
        n
    }

    /// Calls `visit(gene, count)` for every count above zero of one cell, genes in increasing order.
    #[inline]
    pub fn for_each_in_cell(&self, cell: usize, mut visit: impl FnMut(u32, f32)) {
        match &self.store {
            Store::Borrowed {
                offsets,
                genes,
                values,
            } => {
                let span = offsets[cell] as usize..offsets[cell + 1] as usize;
                for (&g, &v) in genes[span.clone()].iter().zip(&values[span]) {
                    if v > 0.0 {
                        visit(g as u32, v as f32);
                    }
                }
            }
            Store::Owned {
                offsets,
                genes,
                values,
            } => {
                let span = offsets[cell]..offsets[cell + 1];
                for (&g, &v) in genes[span.clone()].iter().zip(&values[span]) {
                    if v > 0.0 {
                        visit(g, v);
                    }
                }
            }
        }
    }
}

impl<'a> CountMatrix<'a> {
    /// Counts in the memory of an R `dgCMatrix` (genes x cells): slots `p`, `i`, `x` and its number of rows.
    /// Nothing is copied.
    ///
    /// # Errors
    /// [`Error::Counts`] when the structure is damaged or a value is not a finite whole number from 0 to 2^24,
    /// [`Error::Interrupted`] when asked to stop.
    pub fn from_dgc(
        offsets: &'a [i32],
        genes: &'a [i32],
        values: &'a [f64],
        n_genes: usize,
        should_stop: Stop,
    ) -> Result<Self> {
        let m = CountMatrix {
            n_cells: offsets.len().saturating_sub(1),
            n_genes,
            store: Store::Borrowed {
                offsets,
                genes,
                values,
            },
        };
        m.check(should_stop)?;
        Ok(m)
    }

    /// Counts held by this matrix itself, compressed by cell.
    ///
    /// # Errors
    /// As [`CountMatrix::from_dgc`].
    ///
    /// ```
    /// use scvae::counts::CountMatrix;
    ///
    /// // Two cells and three genes: the first cell has 5 of gene 0 and 1 of gene 2, the second 7 of gene 1.
    /// let matrix = CountMatrix::from_csr(vec![0, 2, 3], vec![0, 2, 1], vec![5.0, 1.0, 7.0], 3)?;
    /// assert_eq!((matrix.n_cells(), matrix.n_genes()), (2, 3));
    ///
    /// // Not raw counts.
    /// assert!(CountMatrix::from_csr(vec![0, 1], vec![0], vec![0.5], 3).is_err());
    /// # Ok::<(), scvae::Error>(())
    /// ```
    pub fn from_csr(
        offsets: Vec<usize>,
        genes: Vec<u32>,
        values: Vec<f32>,
        n_genes: usize,
    ) -> Result<CountMatrix<'static>> {
        CountMatrix::from_csr_unless(&|| false, offsets, genes, values, n_genes)
    }

    /// As [`CountMatrix::from_csr`], but [`Error::Interrupted`] when asked to stop.
    pub(super) fn from_csr_unless(
        should_stop: Stop,
        offsets: Vec<usize>,
        genes: Vec<u32>,
        values: Vec<f32>,
        n_genes: usize,
    ) -> Result<CountMatrix<'static>> {
        let m = CountMatrix {
            n_cells: offsets.len().saturating_sub(1),
            n_genes,
            store: Store::Owned {
                offsets,
                genes,
                values,
            },
        };
        m.check(should_stop)?;
        Ok(m)
    }

    fn check(&self, should_stop: Stop) -> Result<()> {
        match &self.store {
            Store::Borrowed {
                offsets,
                genes,
                values,
            } => check_parts(
                should_stop,
                self.n_genes,
                offsets.iter().map(|&o| o as i64),
                genes.iter().map(|&g| i64::from(g)),
                values.iter().copied(),
            ),
            Store::Owned {
                offsets,
                genes,
                values,
            } => check_parts(
                should_stop,
                self.n_genes,
                offsets.iter().map(|&o| o as i64),
                genes.iter().map(|&g| i64::from(g)),
                values.iter().map(|&v| f64::from(v)),
            ),
        }
    }
}

/// The count as single precision holds it, which is exact.
///
/// # Errors
/// [`Error::Counts`], naming gene and cell (from 1, as R counts), unless it is a finite whole number from 0 to 2^24.
#[inline]
pub(super) fn checked(cell: usize, gene: usize, value: f64) -> Result<f32> {
    let Some(kind) = fault(value) else {
        return Ok(value as f32);
    };
    Err(Error::Counts(format!(
        "raw counts are needed, but the count of gene {} in cell {} is {value}, {kind}",
        gene + 1,
        cell + 1
    )))
}

/// Why a value is no count, `None` if it is one.
#[inline]
pub(super) fn fault(value: f64) -> Option<&'static str> {
    if (0.0..=LARGEST_COUNT).contains(&value) && value.fract() == 0.0 {
        return None;
    }
    Some(if !value.is_finite() {
        "not finite"
    } else if value < 0.0 {
        "negative"
    } else if value.fract() != 0.0 {
        "not a whole number"
    } else {
        "larger than 2^24"
    })
}

fn check_parts(
    should_stop: Stop,
    n_genes: usize,
    offsets: impl ExactSizeIterator<Item = i64>,
    genes: impl ExactSizeIterator<Item = i64>,
    values: impl ExactSizeIterator<Item = f64>,
) -> Result<()> {
    let damaged = |what: String| {
        Err(Error::Counts(format!(
            "the count matrix is damaged: {what}"
        )))
    };
    let (n_entries, n_values) = (genes.len() as i64, values.len() as i64);
    if n_values != n_entries {
        return damaged(format!(
            "it has {n_entries} gene indices but {n_values} values"
        ));
    }
    let offsets: Vec<i64> = offsets.collect();
    if offsets.first() != Some(&0) || offsets.last() != Some(&n_entries) {
        return damaged("its offsets do not span its values".into());
    }
    if offsets.windows(2).any(|w| w[0] > w[1]) {
        return damaged("its offsets decrease".into());
    }
    let mut entries = genes.zip(values);
    for (cell, w) in offsets.windows(2).enumerate() {
        go_on(cell, should_stop)?;
        let mut previous = -1;
        for (gene, value) in entries.by_ref().take((w[1] - w[0]) as usize) {
            if gene < 0 || gene >= n_genes as i64 {
                return damaged(format!(
                    "cell {} has a count for gene {} of {n_genes}",
                    cell + 1,
                    gene + 1
                ));
            }
            if gene <= previous {
                return damaged(format!(
                    "cell {} names gene {} twice, or its genes are not in increasing order",
                    cell + 1,
                    gene + 1
                ));
            }
            previous = gene;
            checked(cell, gene as usize, value)?;
        }
    }
    Ok(())
}
