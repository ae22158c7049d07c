//! The batchified module, of all segments at once.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{bail, Result as CandleResult, Tensor};

use super::arguments::Modules;
use super::card::{address, Card, Grid};
use crate::backend::{known_result, LinearVars};
use crate::kernels::Segment;

/// As in `modules.cu`.
const TILE: usize = 32;
const ROWS_AT_ONCE: usize = 8;

/// `x + beta * TanhShrink(x weight^T + bias)`, with weight and bias of their own for each segment's rows.
pub(super) fn correct(
    card: &Card,
    x: &Tensor,
    segments: &[Segment],
    layers: &[LinearVars],
    beta: f64,
) -> CandleResult<Tensor> {
    let (n_rows, n) = x.dims2()?;
    let fits = |of: &LinearVars| of.weight.dims() == [n, n] && of.bias.dims() == [n];
    let all_rows = segments.last().map_or(0, |s| s.rows.end) == n_rows;
    if layers.len() != segments.len() || !all_rows || !layers.iter().all(fits) {
        bail!("a layer of {n} units is needed for each segment of {n_rows} rows");
    }
    let known = Known::new(card, x, segments, layers, beta)?;
    let out = card.fresh::<f32>(x.shape())?;
    let arguments = Modules {
        out: card.lend::<f32>(&out)?.at,
        ..known.arguments()?
    };
    card.launch("modules", known.grid_over_rows(), &arguments)?;
    let mut inputs = vec![x];
    let tensors =
        |of: &LinearVars<'_>| [of.weight.as_tensor().clone(), of.bias.as_tensor().clone()];
    let tensors: Vec<Tensor> = layers.iter().flat_map(tensors).collect();
    inputs.extend(&tensors);
    known_result(&inputs, out, move |d_out| known.back(d_out))
}

/// What the way back needs.
struct Known {
    card: Card,
    x: Tensor,
    slope: Tensor,
    /// The layers' tensors, which are held for as long as their addresses are in use.
    _held: Vec<Tensor>,
    layers: CudaSlice<u64>,
    n_segments: usize,
    longest: usize,
    beta: f32,
}

impl Known {
    fn new(
        card: &Card,
        x: &Tensor,
        segments: &[Segment],
        layers: &[LinearVars],
        beta: f64,
    ) -> CandleResult<Self> {
        let weights = layers.iter().map(|of| of.weight.detach());
        let held: Vec<Tensor> = weights
            .chain(layers.iter().map(|of| of.bias.detach()))
            .collect();
        let mut numbers = Vec::with_capacity(held.len() + segments.len() + 1);
        for tensor in &held {
            if !tensor.is_contiguous() {
                bail!("weights and bias of a module are not in one piece");
            }
            numbers.push(card.lend::<f32>(tensor)?.at.0);
        }
        numbers.extend(segments.iter().map(|s| s.rows.start as u64));
        numbers.extend(segments.last().map(|s| s.rows.end as u64));
        Ok(Known {
            card: card.clone(),
            x: x.detach().contiguous()?,
            slope: card.fresh::<f32>(x.shape())?,
            _held: held,
            layers: card.copy(&numbers)?,
            n_segments: segments.len(),
            longest: segments.iter().map(|s| s.rows.len()).max().unwrap_or(0),
            beta: beta as f32,
        })
    }

    fn n(&self) -> CandleResult<usize> {
        self.x.dim(1)
    }

    fn arguments(&self) -> CandleResult<Modules> {
        let card = &self.card;
        Ok(Modules {
            layers: address(&self.layers),
            x: card.lend::<f32>(&self.x)?.at,
            n_segments: self.n_segments as i32,
            n: self.n()? as i32,
            beta: self.beta,
            slope: card.lend::<f32>(&self.slope)?.at,
            ..Modules::default()
        })
    }

    /// A block for so many tiles of each segment.
    fn grid(&self, tiles: usize) -> Grid {
        Grid {
            threads: (TILE as u32, ROWS_AT_ONCE as u32),
            ..Grid::new((self.n_segments, tiles), 1)
        }
    }

    fn grid_over_rows(&self) -> Grid {
        let n_tiles = self.x.dims().last().map_or(0, |n| n.div_ceil(TILE));
        self.grid(n_tiles * self.longest.div_ceil(TILE))
    }

    /// Gradients of x, and of each segment's weights and bias.
    fn back(&self, d_out: &Tensor) -> CandleResult<Vec<Tensor>> {
        let (card, n) = (&self.card, self.n()?);
        let d_x = card.fresh::<f32>(self.x.shape())?;
        let d_weights = card.fresh::<f32>((self.n_segments, n, n))?;
        let d_bias = card.fresh::<f32>((self.n_segments, n))?;
        let lent = card.lend_exactly(d_out, self.x.elem_count())?;
        let arguments = Modules {
            d_out: lent.at,
            out: card.lend::<f32>(&d_x)?.at,
            d_weights: card.lend::<f32>(&d_weights)?.at,
            d_bias: card.lend::<f32>(&d_bias)?.at,
            ..self.arguments()?
        };
        card.launch("modules_back", self.grid_over_rows(), &arguments)?;
        let tiles = n.div_ceil(TILE).pow(2);
        card.launch("modules_back_layers", self.grid(tiles), &arguments)?;
        let mut found = vec![d_x];
        for segment in 0..self.n_segments {
            found.push(d_weights.get(segment)?);
            found.push(d_bias.get(segment)?);
        }
        Ok(found)
    }
}
