//! The products of the heads, forwards and back, by one of two ways: of dense matrices, by the vendor's library, or by the
//! connections alone, by `src/kernels/cuda/sparse_heads.cu`.

use std::ops::Range;

use candle_core::{Result as CandleResult, Tensor};

use super::arguments::{Address, SparseHeads};
use super::card::{Card, Grid};
use super::parts::{genes_of_part, padded, product_over_genes, sum_parts};
use super::scratch::Scratch;
use super::wiring::{CudaWiring, HeadProducts};

/// As in `sparse_heads.cu`.
const TILE: usize = 64;
const OF_BLOCK: usize = 32;
const THREADS: u32 = 256;

/// The heads of a mini-batch's cells.
pub(super) struct Heads<'a> {
    pub(super) card: &'a Card,
    pub(super) wiring: &'a CudaWiring,
    /// Of each head, one per slot.
    pub(super) weights: &'a [&'a Tensor],
    /// The last hidden layer, cells x hidden units.
    pub(super) hidden: &'a Tensor,
    /// Cells side by side that use the same mask.
    pub(super) runs: &'a [(usize, Range<usize>)],
}

/// The logits of all heads without their bias, one head below the other, rows x cells.
pub(super) struct Logits {
    pub(super) values: Tensor,
    /// Rows of a head: the genes, and what is needed to cut products into equal parts.
    pub(super) n_rows: usize,
    /// The masked dense matrices that gave them, by run of cells; none if connections did.
    dense: Vec<Tensor>,
}

/// What comes back through the products.
pub(super) struct WayBack {
    /// Of each head, one per slot.
    pub(super) weights: Vec<Tensor>,
    /// Cells x hidden units.
    pub(super) hidden: Tensor,
}

impl Heads<'_> {
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn logits(&self) -> CandleResult<Logits> {
        match self.wiring.products() {
            HeadProducts::Dense => self.dense_logits(),
            HeadProducts::Sparse => self.sparse_logits(),
        }
    }

    /// `d_logits` are in the form of the logits.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub(super) fn back(&self, d_logits: Logits, scratch: &mut Scratch) -> CandleResult<WayBack> {
        match self.wiring.products() {
            HeadProducts::Dense => self.dense_back(&d_logits),
            HeadProducts::Sparse => self.sparse_back(&d_logits.values, scratch),
        }
    }

    fn n_cells(&self) -> CandleResult<usize> {
        self.hidden.dim(0)
    }

    fn dense_logits(&self) -> CandleResult<Logits> {
        let n_rows = padded(self.wiring.n_genes, self.n_cells()?);
        let (mut values, mut matrices) = (Vec::new(), Vec::new());
        for (mask, cells) in self.runs {
            let dense = self.wiring.expand(self.card, *mask, self.weights, n_rows)?;
            let own = self.hidden.narrow(0, cells.start, cells.len())?;
            values.push(dense.matmul(&own.contiguous()?.t()?)?);
            matrices.push(dense);
        }
        Ok(Logits {
            values: match &values[..] {
                [all] => all.clone(),
                several => Tensor::cat(several, 1)?,
            },
            n_rows,
            dense: matrices,
        })
    }

    fn dense_back(&self, d_logits: &Logits) -> CandleResult<WayBack> {
        let weights = self.wiring.gradients(self.card, self.weights.len())?;
        let mut d_hidden = Vec::new();
        for ((mask, cells), dense) in self.runs.iter().zip(&d_logits.dense) {
            let (d_own, own) = match self.runs.len() {
                1 => (d_logits.values.clone(), self.hidden.clone()),
                _ => (
                    d_logits
                        .values
                        .narrow(1, cells.start, cells.len())?
                        .contiguous()?,
                    self.hidden
                        .narrow(0, cells.start, cells.len())?
                        .contiguous()?,
                ),
            };
            let d_dense = d_own.matmul(&own)?;
            self.wiring.collect(self.card, *mask, &d_dense, &weights)?;
            let d_own = product_over_genes(self.card, &d_own, dense, d_logits.n_rows)?;
            d_hidden.push(d_own);
        }
        Ok(WayBack {
            weights,
            hidden: match &d_hidden[..] {
                [all] => all.clone(),
                several => Tensor::cat(several, 0)?,
            },
        })
    }

    fn sparse_logits(&self) -> CandleResult<Logits> {
        let (n_genes, n_cells) = (self.wiring.n_genes, self.n_cells()?);
        let shape = (self.weights.len() * n_genes, n_cells);
        let values = self.card.fresh::<f32>(shape)?;
        let logits = self.card.lend::<f32>(&values)?;
        self.by_run(|arguments, tiles| {
            let arguments = SparseHeads {
                logits: logits.at,
                ..arguments
            };
            let blocks = (tiles, n_genes.div_ceil(OF_BLOCK));
            self.launch("sparse_logits", Grid::new(blocks, THREADS), &arguments)
        })?;
        Ok(Logits {
            values,
            n_rows: n_genes,
            dense: Vec::new(),
        })
    }

    fn sparse_back(&self, d_logits: &Tensor, scratch: &mut Scratch) -> CandleResult<WayBack> {
        let (card, n_genes, n_hidden) = (self.card, self.wiring.n_genes, self.wiring.n_hidden);
        let (n_cells, n_heads) = (self.n_cells()?, self.weights.len());
        let weights = self.wiring.gradients(card, n_heads)?;
        let lent = weights.iter().map(|w| card.lend::<f32>(w));
        let lent = lent.collect::<CandleResult<Vec<_>>>()?;
        let logits = card.lend::<f32>(d_logits)?;
        let of_part = genes_of_part(n_genes, n_cells);
        let n_parts = n_genes.div_ceil(of_part);
        let shape = (n_cells.div_ceil(TILE), n_heads, self.wiring.n_slots);
        let weight_parts = scratch.table::<f32>(card, "gradients of tiles", shape)?;
        let shape = (n_parts, n_cells, n_hidden);
        let d_x_parts = scratch.table::<f32>(card, "gradients of parts", shape)?;
        self.by_run(|arguments, tiles| {
            let of_head = |head: usize| lent.get(head).map_or(Address::default(), |w| w.at);
            let arguments = SparseHeads {
                logits: logits.at,
                genes_of_part: of_part as i32,
                d_weights: [of_head(0), of_head(1)],
                weight_parts,
                d_x_parts,
                ..arguments
            };
            let by_gene = Grid::new((tiles, n_genes.div_ceil(OF_BLOCK)), THREADS);
            self.launch("sparse_back_weights", by_gene, &arguments)?;
            let n_slots = self.wiring.n_slots;
            let by_slot = Grid::new((n_slots.div_ceil(THREADS as usize), n_heads), THREADS);
            card.launch("sparse_sum_weights", by_slot, &arguments)?;
            let blocks = (tiles, n_hidden.div_ceil(OF_BLOCK));
            let by_unit = Grid::new(blocks, THREADS).deep(n_parts);
            self.launch("sparse_back_hidden", by_unit, &arguments)
        })?;
        Ok(WayBack {
            weights,
            hidden: sum_parts(card, d_x_parts, n_parts, (n_cells, n_hidden))?,
        })
    }

    /// Does something for each run of cells, given what all kernels need of it, and the number of its tiles.
    fn by_run(&self, work: impl Fn(SparseHeads, usize) -> CandleResult<()>) -> CandleResult<()> {
        let n_cells = self.n_cells()?;
        let hidden = self
            .card
            .lend_exactly(self.hidden, n_cells * self.wiring.n_hidden)?;
        let weights = self.weights.iter();
        let weights = weights.map(|w| self.card.lend_exactly(w, self.wiring.n_slots));
        let weights = weights.collect::<CandleResult<Vec<_>>>()?;
        let of_head = |head: usize| weights.get(head).map_or(Address::default(), |w| w.at);
        for (mask, cells) in self.runs {
            let arguments = SparseHeads {
                n_cells: n_cells as i32,
                first: cells.start as i32,
                last: cells.end as i32,
                weights: [of_head(0), of_head(1)],
                x: hidden.at,
                ..self.wiring.sparse_heads(*mask)?
            };
            work(arguments, cells.len().div_ceil(TILE))?;
        }
        Ok(())
    }

    /// The kernel of this name for as many heads as there are.
    fn launch(&self, name: &str, grid: Grid, arguments: &SparseHeads) -> CandleResult<()> {
        let name = format!("{name}_of_{}", self.weights.len());
        self.card.launch(&name, grid, arguments)
    }
}
