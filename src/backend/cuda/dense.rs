//! Fully connected layers: products of the vendor's library, and what goes with them.

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor, Var};

use super::arguments::Dense;
use super::card::{Card, Grid};
use super::parts::product_over_cells;
use super::rows::DeviceRows;
use crate::backend::known_result;
use crate::kernels::Segment;

/// As in `dense.cu`.
const COLUMNS: usize = 32;
const COLUMN_THREADS: u32 = 1024;

/// `x weight^T + bias`.
pub(super) fn linear(card: &Card, x: &Tensor, weight: &Var, bias: &Var) -> CandleResult<Tensor> {
    let cells = x.detach().contiguous()?;
    let weights = weight.detach();
    let product = cells.matmul(&weights.t()?)?;
    let out = add_row(card, &product, bias)?;
    let card = card.clone();
    known_result(&[x, weight, bias], out, move |d_out| {
        let d_out = d_out.contiguous()?;
        gradients(&card, &cells, &weights, &d_out)
    })
}

/// Takes a row of `shift` off each row of `x`, that of its segment.
pub(super) fn take_off(
    card: &Card,
    x: &Tensor,
    shift: &Tensor,
    segments: &[Segment],
) -> CandleResult<Tensor> {
    let (n_rows, n_columns) = x.dims2()?;
    let rows = Arc::new(DeviceRows::new(card, segments, &[])?);
    let out = card.fresh::<f32>(x.shape())?;
    let lent = card.lend::<f32>(x)?;
    let bias = card.lend_exactly(shift, segments.len() * n_columns)?;
    let shape = Dense {
        segment: rows.arguments().segment,
        n_rows: n_rows as i32,
        n_columns: n_columns as i32,
        ..Dense::default()
    };
    let arguments = Dense {
        x: lent.at,
        bias: bias.at,
        out: card.lend::<f32>(&out)?.at,
        ..shape
    };
    card.launch("take_off", Grid::over(n_rows * n_columns), &arguments)?;
    let (card, n_segments) = (card.clone(), segments.len());
    known_result(&[x, shift], out, move |d_out| {
        // The rows are held for as long as their address is in use.
        let _held = &rows;
        let d_shift = card.fresh::<f32>((n_segments, n_columns))?;
        let lent = card.lend_exactly(d_out, n_rows * n_columns)?;
        let arguments = Dense {
            d_out: lent.at,
            out: card.lend::<f32>(&d_shift)?.at,
            ..shape
        };
        let blocks = (n_segments, n_columns.div_ceil(COLUMNS));
        card.launch(
            "take_off_back",
            Grid::new(blocks, COLUMNS as u32),
            &arguments,
        )?;
        Ok(vec![d_out.clone(), d_shift])
    })
}

/// Gradients of the input, the weights and the bias of a product with a bias.
fn gradients(
    card: &Card,
    cells: &Tensor,
    weights: &Tensor,
    d_product: &Tensor,
) -> CandleResult<Vec<Tensor>> {
    let d_cells = d_product.matmul(weights)?;
    let d_weights = product_over_cells(card, d_product, cells)?;
    Ok(vec![d_cells, d_weights, column_sums(card, d_product)?])
}

/// The sum of each column.
pub(super) fn column_sums(card: &Card, x: &Tensor) -> CandleResult<Tensor> {
    let (n_rows, n_columns) = x.dims2()?;
    let out = card.fresh::<f32>(n_columns)?;
    let x = card.lend::<f32>(x)?;
    let arguments = Dense {
        product: x.at,
        n_rows: n_rows as i32,
        n_columns: n_columns as i32,
        out: card.lend::<f32>(&out)?.at,
        ..Dense::default()
    };
    let grid = Grid::new((n_columns.div_ceil(COLUMNS), 1), COLUMN_THREADS);
    card.launch("column_sums", grid, &arguments)?;
    Ok(out)
}

/// Adds a bias to each row.
fn add_row(card: &Card, product: &Tensor, bias: &Tensor) -> CandleResult<Tensor> {
    let (n_rows, n_columns) = product.dims2()?;
    let out = card.fresh::<f32>((n_rows, n_columns))?;
    let product = card.lend::<f32>(product)?;
    let bias = card.lend_exactly(bias, n_columns)?;
    let arguments = Dense {
        product: product.at,
        bias: bias.at,
        n_rows: n_rows as i32,
        n_columns: n_columns as i32,
        out: card.lend::<f32>(&out)?.at,
        ..Dense::default()
    };
    card.launch("add_row", Grid::over(n_rows * n_columns), &arguments)?;
    Ok(out)
}
