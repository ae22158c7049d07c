//! The connections on the card, and masked dense matrices of the weights.

use std::ops::Range;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{bail, DType, Result as CandleResult, Tensor};

use super::arguments::{Address, Connections, EncodeBack, SparseHeads};
use super::card::{address, Card, Grid};
use super::cells::CudaMiniBatch;
use crate::kernels::{ConnectionList, Segment, Wiring};

/// Genes of a block, each with a warp of its own.
const WARPS: usize = 8;

/// How the products of the heads are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadProducts {
    /// Masked dense matrices: most of what is multiplied is zero, but the library multiplies fast.
    #[default]
    Dense,
    /// The connections alone: a fifth of the operations, none of them by tensor cores.
    Sparse,
}

/// The connections, where the card reads them.
#[derive(Debug, Clone)]
pub struct CudaWiring {
    pub(super) n_genes: usize,
    pub(super) n_hidden: usize,
    pub(super) n_slots: usize,
    masks: Arc<Vec<DeviceList>>,
    products: HeadProducts,
}

#[derive(Debug)]
struct DeviceList {
    offsets: CudaSlice<u32>,
    hidden: CudaSlice<u16>,
    slots: CudaSlice<u32>,
    by_unit: Option<ByUnit>,
}

/// The same connections by hidden unit.
#[derive(Debug)]
struct ByUnit {
    offsets: CudaSlice<u32>,
    genes: CudaSlice<u32>,
    slots: CudaSlice<u32>,
}

impl ByUnit {
    fn new(card: &Card, list: &ConnectionList, n_hidden: usize) -> CandleResult<Self> {
        let mut offsets = vec![0; n_hidden + 1];
        for &unit in &list.hidden {
            offsets[usize::from(unit) + 1] += 1;
        }
        for unit in 0..n_hidden {
            offsets[unit + 1] += offsets[unit];
        }
        let mut next = offsets.clone();
        let [mut genes, mut slots] = [(); 2].map(|()| vec![0; list.slots.len()]);
        for gene in 0..list.offsets.len() - 1 {
            let (units, of_gene) = list.gene(gene);
            for (&unit, &slot) in units.iter().zip(of_gene) {
                let place = &mut next[usize::from(unit)];
                genes[*place as usize] = gene as u32;
                slots[*place as usize] = slot;
                *place += 1;
            }
        }
        Ok(ByUnit {
            offsets: card.copy::<u32>(&offsets)?,
            genes: card.copy(&genes)?,
            slots: card.copy(&slots)?,
        })
    }
}

impl CudaWiring {
    /// # Errors
    /// When memory cannot be had.
    pub(super) fn new(card: &Card, host: &Wiring, products: HeadProducts) -> CandleResult<Self> {
        let to_card = |list: &ConnectionList| -> CandleResult<DeviceList> {
            let by_unit = match products {
                HeadProducts::Dense => None,
                HeadProducts::Sparse => Some(ByUnit::new(card, list, host.n_hidden)?),
            };
            Ok(DeviceList {
                by_unit,
                offsets: card.copy(&list.offsets)?,
                hidden: card.copy(&list.hidden)?,
                slots: card.copy(&list.slots)?,
            })
        };
        Ok(CudaWiring {
            n_genes: host.n_genes(),
            n_hidden: host.n_hidden,
            n_slots: host.n_slots(),
            products,
            masks: Arc::new(
                host.masks
                    .iter()
                    .map(to_card)
                    .collect::<CandleResult<_>>()?,
            ),
        })
    }

    /// How the products of heads with these connections are made.
    pub(super) fn products(&self) -> HeadProducts {
        self.products
    }

    /// What the kernels of sparse products need of a mask.
    ///
    /// # Errors
    /// When the wiring is for dense products.
    pub(super) fn sparse_heads(&self, mask: usize) -> CandleResult<SparseHeads> {
        let list = &self.masks[mask];
        let Some(by_unit) = &list.by_unit else {
            bail!("the connections of dense products have no lists by hidden unit");
        };
        Ok(SparseHeads {
            offsets: address(&list.offsets),
            hidden: address(&list.hidden),
            slots: address(&list.slots),
            unit_offsets: address(&by_unit.offsets),
            genes: address(&by_unit.genes),
            unit_slots: address(&by_unit.slots),
            n_genes: self.n_genes as i32,
            n_hidden: self.n_hidden as i32,
            adds: self.adds().into(),
            n_slots: self.n_slots as u64,
            ..SparseHeads::default()
        })
    }

    /// The mask that a batch's cells use.
    pub(super) fn mask_index(&self, batch: usize) -> usize {
        batch.min(self.masks.len() - 1)
    }

    /// Rows side by side that use the same mask.
    pub(super) fn runs(&self, segments: &[Segment]) -> Vec<(usize, Range<usize>)> {
        segments
            .chunk_by(|a, b| self.mask_index(a.batch) == self.mask_index(b.batch))
            .map(|same| {
                let rows = same[0].rows.start..same[same.len() - 1].rows.end;
                (self.mask_index(same[0].batch), rows)
            })
            .collect()
    }

    /// Whether several masks add to the gradient of one weight.
    fn adds(&self) -> bool {
        self.masks.len() > 1
    }

    /// Masked dense matrices of the heads' weights, one below the other, each with `n_rows` rows of hidden units.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn expand(
        &self,
        card: &Card,
        mask: usize,
        heads: &[&Tensor],
        n_rows: usize,
    ) -> CandleResult<Tensor> {
        let dense = card.fresh::<f32>((heads.len() * n_rows, self.n_hidden))?;
        self.launch(card, "expand", mask, heads, &dense)?;
        Ok(dense)
    }

    /// Room for the gradients of the weights of so many heads: zeros where masks add to them.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub(super) fn gradients(&self, card: &Card, n_heads: usize) -> CandleResult<Vec<Tensor>> {
        let room = |_| match self.adds() {
            true => Tensor::zeros(self.n_slots, DType::F32, &card.device),
            false => card.fresh::<f32>(self.n_slots),
        };
        (0..n_heads).map(room).collect()
    }

    /// Puts the gradients of masked dense matrices, one below the other, into those of the heads' weights.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn collect(
        &self,
        card: &Card,
        mask: usize,
        dense: &Tensor,
        heads: &[Tensor],
    ) -> CandleResult<()> {
        let heads: Vec<&Tensor> = heads.iter().collect();
        self.launch(card, "collect", mask, &heads, dense)
    }

    fn launch(
        &self,
        card: &Card,
        kernel: &str,
        mask: usize,
        heads: &[&Tensor],
        dense: &Tensor,
    ) -> CandleResult<()> {
        let list = &self.masks[mask];
        let lent = heads.iter().map(|w| card.lend_exactly(w, self.n_slots));
        let lent = lent.collect::<CandleResult<Vec<_>>>()?;
        let weights = |head: usize| lent.get(head).map_or(Address::default(), |w| w.at);
        let n_rows = dense.dim(0)? / heads.len();
        let dense = card.lend::<f32>(dense)?;
        let arguments = Connections {
            offsets: address(&list.offsets),
            hidden: address(&list.hidden),
            slots: address(&list.slots),
            n_genes: self.n_genes as i32,
            n_rows: n_rows as i32,
            n_hidden: self.n_hidden as i32,
            dense: dense.at,
            weights: [weights(0), weights(1)],
            adds: self.adds().into(),
        };
        let grid = Grid::new((n_rows.div_ceil(WARPS), heads.len()), 256);
        card.launch(kernel, grid, &arguments)
    }

    /// Puts the gradient of the encoder's weights that a run of cells gives into that of all.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn encode_back(
        &self,
        card: &Card,
        (mask, cells): (usize, Range<usize>),
        minibatch: &CudaMiniBatch,
        d_out: &Tensor,
        d_weights: &Tensor,
    ) -> CandleResult<()> {
        let list = &self.masks[mask];
        let n_cells = minibatch.n_cells();
        let table = card.lend::<f32>(&minibatch.counts)?;
        let d_out = card.lend_exactly(d_out, n_cells * self.n_hidden)?;
        let arguments = EncodeBack {
            offsets: address(&list.offsets),
            hidden: address(&list.hidden),
            slots: address(&list.slots),
            n_genes: self.n_genes as i32,
            n_hidden: self.n_hidden as i32,
            n_cells: n_cells as i32,
            first: cells.start as i32,
            last: cells.end as i32,
            table: table.at,
            depth: minibatch.cells().depth,
            d_out: d_out.at,
            adds: self.adds().into(),
            d_weights: card.lend::<f32>(d_weights)?.at,
        };
        let grid = Grid::new((self.n_genes.div_ceil(WARPS), 1), 256);
        card.launch("encode_back", grid, &arguments)
    }
}
