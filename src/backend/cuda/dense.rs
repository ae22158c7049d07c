//! Fully connected layers and the batchified module made of one: products of the vendor's library, and what goes with them.

use candle_core::{Result as CandleResult, Tensor, Var};

use super::arguments::{Address, Dense};
use super::card::{Card, Grid};
use super::parts::product_over_cells;
use crate::backend::known_layer;

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
    known_layer(x, &[weight, bias], out, move |d_out| {
        let d_out = d_out.contiguous()?;
        gradients(&card, &cells, &weights, &d_out)
    })
}

/// `x + beta * TanhShrink(x weight^T + bias)`.
pub(super) fn correct(
    card: &Card,
    x: &Tensor,
    weight: &Var,
    bias: &Var,
    beta: f64,
) -> CandleResult<Tensor> {
    let cells = x.detach().contiguous()?;
    let weights = weight.detach();
    let shifts = bias.detach();
    let product = cells.matmul(&weights.t()?)?;
    let operands = Operands {
        x: Some(&cells),
        beta: beta as f32,
        ..Operands::new(&product, Some(&shifts))
    };
    let out = apply(card, "correct", &operands)?;
    let card = card.clone();
    known_layer(x, &[weight, bias], out, move |d_out| {
        let d_out = d_out.contiguous()?;
        let operands = Operands {
            beta: beta as f32,
            d_out: Some(&d_out),
            ..Operands::new(&product, Some(&shifts))
        };
        let d_product = apply(&card, "correct_back", &operands)?;
        let mut found = gradients(&card, &cells, &weights, &d_product)?;
        found[0] = (&found[0] + &d_out)?;
        Ok(found)
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
    };
    card.launch(kernel, Grid::over(n), &arguments)?;
    Ok(out)
}
