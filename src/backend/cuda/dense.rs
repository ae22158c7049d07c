//! Fully connected layers and the batchified module made of one: products of the vendor's library, and what goes with them.

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor, Var};

use super::all_rows;
use super::arguments::{Address, Dense};
use super::card::{Card, Grid};
use super::parts::product_over_cells;
use super::rows::DeviceRows;
use crate::backend::{known_result, LinearVars};
use crate::kernels::Segment;

/// As in `dense.cu`.
const COLUMNS: usize = 32;
const COLUMN_THREADS: u32 = 1024;

/// `x weight^T + bias`.
pub(super) fn linear(card: &Card, x: &Tensor, weight: &Var, bias: &Var) -> CandleResult<Tensor> {
    let cells = x.detach().contiguous()?;
    let weights = weight.detach();
    let product = cells.matmul(&weights.t()?)?;
    let out = apply(card, "add_row", &Operands::new(&product, Some(bias)))?;
    let card = card.clone();
    known_result(&[x, weight, bias], out, move |d_out| {
        let d_out = d_out.contiguous()?;
        gradients(&card, &cells, &weights, &d_out)
    })
}

/// `x + beta * TanhShrink(x weight^T + bias)`, with weight and bias of their own for each segment's rows.
pub(super) fn correct(
    card: &Card,
    x: &Tensor,
    segments: &[Segment],
    layers: &[LinearVars],
    beta: f64,
) -> CandleResult<Tensor> {
    let cells = x.detach().contiguous()?;
    let parts = segments.iter().zip(layers).map(|(segment, layer)| {
        let (start, n) = (segment.rows.start, segment.rows.len());
        let (cells, weights) = (cells.narrow(0, start, n)?, layer.weight.detach());
        Ok(Part {
            product: cells.matmul(&weights.t()?)?,
            bias: layer.bias.detach(),
            cells,
            weights,
            start,
        })
    });
    let parts = parts.collect::<CandleResult<Vec<_>>>()?;
    let out = parts.iter().map(|part| {
        let operands = Operands {
            x: Some(&part.cells),
            beta: beta as f32,
            ..Operands::new(&part.product, Some(&part.bias))
        };
        apply(card, "correct", &operands)
    });
    let out = all_rows(out.collect::<CandleResult<Vec<_>>>()?)?;
    let mut inputs = vec![x];
    inputs.extend(
        layers
            .iter()
            .flat_map(|of| [of.weight.as_tensor(), of.bias.as_tensor()]),
    );
    let card = card.clone();
    known_result(&inputs, out, move |d_out| {
        let d_out = d_out.contiguous()?;
        let (mut d_cells, mut of_layers) = (Vec::new(), Vec::new());
        for part in &parts {
            let d_own = d_out.narrow(0, part.start, part.cells.dim(0)?)?;
            let operands = Operands {
                beta: beta as f32,
                d_out: Some(&d_own),
                ..Operands::new(&part.product, Some(&part.bias))
            };
            let d_product = apply(&card, "correct_back", &operands)?;
            let mut found = gradients(&card, &part.cells, &part.weights, &d_product)?;
            d_cells.push(found.remove(0));
            of_layers.extend(found);
        }
        let mut found = vec![(all_rows(d_cells)? + d_out)?];
        found.extend(of_layers);
        Ok(found)
    })
}

/// A segment's rows in a batchified module.
struct Part {
    cells: Tensor,
    weights: Tensor,
    bias: Tensor,
    product: Tensor,
    start: usize,
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

/// What the kernels that work value by value read.
struct Operands<'a> {
    x: Option<&'a Tensor>,
    product: &'a Tensor,
    bias: Option<&'a Tensor>,
    beta: f32,
    d_out: Option<&'a Tensor>,
}

impl<'a> Operands<'a> {
    fn new(product: &'a Tensor, bias: Option<&'a Tensor>) -> Self {
        Operands {
            x: None,
            product,
            bias,
            beta: 0.0,
            d_out: None,
        }
    }
}

fn apply(card: &Card, kernel: &str, operands: &Operands) -> CandleResult<Tensor> {
    let (n_rows, n_columns) = operands.product.dims2()?;
    let n = n_rows * n_columns;
    let out = card.fresh::<f32>((n_rows, n_columns))?;
    let lend = |tensor: Option<&Tensor>, n: usize| {
        let lent = tensor.map(|tensor| card.lend_exactly(tensor, n));
        lent.transpose()
    };
    let x = lend(operands.x, n)?;
    let d_out = lend(operands.d_out, n)?;
    let bias = lend(operands.bias, n_columns)?;
    let product = card.lend::<f32>(operands.product)?;
    let arguments = Dense {
        x: x.as_ref().map_or(Address(0), |x| x.at),
        product: product.at,
        bias: bias.as_ref().map_or(Address(0), |bias| bias.at),
        n_rows: n_rows as i32,
        n_columns: n_columns as i32,
        beta: operands.beta,
        d_out: d_out.as_ref().map_or(Address(0), |d| d.at),
        out: card.lend::<f32>(&out)?.at,
        ..Dense::default()
    };
    card.launch(kernel, Grid::over(n), &arguments)?;
    Ok(out)
}
