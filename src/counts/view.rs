//! The cells and genes of a matrix that a model sees: the filter's outcome, or new data aligned to a model's genes.

use super::CountMatrix;
use crate::{Error, Result};

/// Marks a gene of the matrix that the model does not see.
const DROPPED: u32 = u32::MAX;

/// Chosen cells of a matrix, with its genes renumbered as the model numbers them.
#[derive(Debug, Clone)]
pub struct CountsView<'a> {
    matrix: &'a CountMatrix<'a>,
    cells: Vec<usize>,
    gene_position: Vec<u32>,
    n_genes: usize,
}

impl<'a> CountsView<'a> {
    /// A view of `cells`; `gene_position[g]` is the model's number for gene `g` of the matrix, `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Argument`] when a cell or a position is out of range, or two genes have the same position.
    pub fn new(
        matrix: &'a CountMatrix<'a>,
        cells: Vec<usize>,
        gene_position: &[Option<u32>],
        n_genes: usize,
    ) -> Result<Self> {
        let in_range = cells.iter().all(|&c| c < matrix.n_cells())
            && gene_position.len() == matrix.n_genes()
            && gene_position
                .iter()
                .flatten()
                .all(|&p| (p as usize) < n_genes);
        if !in_range {
            return Err(Error::Argument(
                "a cell or gene index lies outside the count matrix".into(),
            ));
        }
        let mut seen = vec![false; n_genes];
        for &position in gene_position.iter().flatten() {
            if std::mem::replace(&mut seen[position as usize], true) {
                return Err(Error::Argument(format!(
                    "two genes of the count matrix stand for gene {} of the model; gene names must be unique",
                    position + 1
                )));
            }
        }
        Ok(CountsView {
            matrix,
            cells,
            gene_position: gene_position.iter().map(|p| p.unwrap_or(DROPPED)).collect(),
            n_genes,
        })
    }

    /// Number of cells in the view.
    pub fn n_cells(&self) -> usize {
        self.cells.len()
    }

    /// Number of genes the model knows.
    pub fn n_genes(&self) -> usize {
        self.n_genes
    }

    /// The view's cells, as rows of the matrix.
    pub fn cells(&self) -> &[usize] {
        &self.cells
    }

    /// The model's genes, as columns of the matrix, in the model's order; those the matrix lacks are left out.
    pub fn genes(&self) -> Vec<usize> {
        let mut genes = vec![None; self.n_genes];
        for (column, &position) in self.gene_position.iter().enumerate() {
            if position != DROPPED {
                genes[position as usize] = Some(column);
            }
        }
        genes.into_iter().flatten().collect()
    }

    /// Calls `visit(gene, count)` for every count above zero of the view's cell number `cell`.
    #[inline]
    pub fn for_each_in_cell(&self, cell: usize, mut visit: impl FnMut(u32, f32)) {
        self.matrix.for_each_in_cell(self.cells[cell], |g, v| {
            let position = self.gene_position[g as usize];
            if position != DROPPED {
                visit(position, v);
            }
        });
    }

    /// Total count of a cell over the genes of the view: scVI's observed library size.
    pub fn library(&self, cell: usize) -> f64 {
        let mut total = 0.0;
        self.for_each_in_cell(cell, |_, v| total += f64::from(v));
        total
    }
}

/// Drops genes detected in fewer than `min_cells` cells, then cells with fewer than `min_genes` of the genes left
/// (paper, appendix A.1.1).
///
/// # Errors
/// [`Error::Counts`] when every count is zero, or fewer than two cells or two genes are left.
///
/// ```
/// use scvae::counts::{filter, CountMatrix};
///
/// // Three cells of one gene, the first two of another one, too; and a gene that nobody has.
/// let (offsets, genes) = (vec![0, 2, 4, 5], vec![0, 1, 0, 1, 0]);
/// let matrix = CountMatrix::from_csr(offsets, genes, vec![1.0; 5], 3)?;
/// let view = filter(&matrix, 1, 2)?;
/// assert_eq!(view.cells(), [0, 1]);
/// assert_eq!(view.genes(), [0, 1]);
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn filter<'a>(
    matrix: &'a CountMatrix<'a>,
    min_cells: usize,
    min_genes: usize,
) -> Result<CountsView<'a>> {
    let mut detected = vec![0usize; matrix.n_genes()];
    for cell in 0..matrix.n_cells() {
        matrix.for_each_in_cell(cell, |g, _| detected[g as usize] += 1);
    }
    if detected.iter().all(|&d| d == 0) {
        return Err(Error::Counts("all counts are zero".into()));
    }
    let mut n_genes = 0;
    let gene_position: Vec<u32> = detected
        .iter()
        .map(|&d| {
            if d < min_cells {
                return DROPPED;
            }
            n_genes += 1;
            n_genes - 1
        })
        .collect();
    let cells: Vec<usize> = (0..matrix.n_cells())
        .filter(|&cell| {
            let mut genes = 0;
            matrix.for_each_in_cell(cell, |g, _| {
                genes += usize::from(gene_position[g as usize] != DROPPED)
            });
            genes >= min_genes
        })
        .collect();
    if n_genes < 2 || cells.len() < 2 {
        // More cells than genes are rare, unless the matrix lies on its side.
        let cure = if matrix.n_cells() > matrix.n_genes() {
            "Genes must be rows and cells columns: if it is the other way round, give transposed = TRUE.\n\
             Otherwise lower min_cells or min_genes."
        } else {
            "Lower min_cells or min_genes."
        };
        return Err(Error::Counts(format!(
            "the filter leaves {n_genes} of {} genes (min_cells = {min_cells}) and {} of {} cells (min_genes = \
             {min_genes}); at least two of each are needed.\n{cure}",
            matrix.n_genes(),
            cells.len(),
            matrix.n_cells()
        )));
    }
    Ok(CountsView {
        matrix,
        cells,
        gene_position,
        n_genes: n_genes as usize,
    })
}
