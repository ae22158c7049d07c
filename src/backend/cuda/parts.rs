//! Products over many genes or cells are cut into parts of equal size, worked on side by side and added up in order: left to
//! itself, a library may give one long product to a small corner of the card, or add up in an order of its own.

use candle_core::{Result as CandleResult, Tensor};

use super::arguments::{Address, SumParts};
use super::card::{Card, Grid};

/// Cells of a part.
const CELLS_OF_PART: usize = 256;

/// Genes of a part; fewer cells need more parts to fill a card.
pub(super) fn genes_of_part(n_genes: usize, n_cells: usize) -> usize {
    let most = n_genes.next_power_of_two();
    n_cells.next_power_of_two().clamp(256, 4096).min(most)
}

/// The number of genes, filled up to whole parts.
pub(super) fn padded(n_genes: usize, n_cells: usize) -> usize {
    n_genes.next_multiple_of(genes_of_part(n_genes, n_cells))
}

/// `x^T y`, cells x hidden units, of `x`, genes x cells, and `y`, genes x hidden units, with a padded number of genes, or
/// several times so many.
pub(super) fn product_over_genes(
    card: &Card,
    x: &Tensor,
    y: &Tensor,
    n_genes: usize,
) -> CandleResult<Tensor> {
    let n_parts = x.dim(0)? / genes_of_part(n_genes, x.dim(1)?);
    product_of_parts(card, x, y, n_parts)
}

/// `x^T y`, of two tables with a row for each cell.
pub(super) fn product_over_cells(card: &Card, x: &Tensor, y: &Tensor) -> CandleResult<Tensor> {
    let n_cells = x.dim(0)?;
    match n_cells % CELLS_OF_PART {
        0 if n_cells > CELLS_OF_PART => product_of_parts(card, x, y, n_cells / CELLS_OF_PART),
        _ => x.t()?.matmul(y),
    }
}

fn product_of_parts(card: &Card, x: &Tensor, y: &Tensor, n_parts: usize) -> CandleResult<Tensor> {
    let ((n_rows, n), m) = (x.dims2()?, y.dim(1)?);
    let of_part = n_rows / n_parts;
    let x = x.reshape((n_parts, of_part, n))?.transpose(1, 2)?;
    let parts = x.matmul(&y.reshape((n_parts, of_part, m))?)?;
    let parts = card.lend::<f32>(&parts)?;
    sum_parts(card, parts.at, n_parts, (n, m))
}

/// Adds up tables of the same shape, which lie one behind the other.
pub(super) fn sum_parts(
    card: &Card,
    parts: Address,
    n_parts: usize,
    (n, m): (usize, usize),
) -> CandleResult<Tensor> {
    let out = card.fresh::<f32>((n, m))?;
    let arguments = SumParts {
        parts,
        n_parts: n_parts as i32,
        n_values: (n * m) as i32,
        out: card.lend::<f32>(&out)?.at,
    };
    card.launch("sum_parts", Grid::over(n * m), &arguments)?;
    Ok(out)
}
