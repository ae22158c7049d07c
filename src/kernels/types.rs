//! What the kernels work on.

use std::ops::Range;

/// The counts of a mini-batch compressed by gene: entries of gene `g` lie at `offsets[g]..offsets[g + 1]`.
#[derive(Debug, Clone, Default)]
pub struct GeneMajorCounts {
    /// Cells of the mini-batch.
    pub n_cells: usize,
    /// `n_genes + 1` offsets.
    pub offsets: Vec<u32>,
    /// Row of the mini-batch, increasing within a gene.
    pub cells: Vec<u32>,
    /// Counts, all above zero.
    pub counts: Vec<f32>,
}

impl GeneMajorCounts {
    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Cells and counts of one gene.
    pub fn gene(&self, g: usize) -> (&[u32], &[f32]) {
        let span = self.offsets[g] as usize..self.offsets[g + 1] as usize;
        (&self.cells[span.clone()], &self.counts[span])
    }
}

/// The cells of one batch, side by side. A mini-batch's segments follow one another without gaps; none is empty, so that
/// batches without a cell cost nothing. Two segments may be of the same batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The batch; it says which mask the cells use.
    pub batch: usize,
    /// Rows of the mini-batch.
    pub rows: Range<usize>,
}

/// The connections of one mask, compressed by gene.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionList {
    /// `n_genes + 1` offsets into the two lists below.
    pub offsets: Vec<u32>,
    /// Hidden unit of each connection, increasing within a gene.
    pub hidden: Vec<u16>,
    /// Where the connection's weight stands in the list of weights.
    pub slots: Vec<u32>,
}

impl ConnectionList {
    /// Hidden units and weight slots of one gene.
    #[inline]
    pub fn gene(&self, g: usize) -> (&[u16], &[u32]) {
        let span = self.offsets[g] as usize..self.offsets[g + 1] as usize;
        (&self.hidden[span.clone()], &self.slots[span])
    }
}

/// The connections between genes and hidden units in the form the kernels read: one list of weights for all masks,
/// sorted by gene and hidden unit, and for every mask the weights it uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wiring {
    /// Number of hidden units.
    pub n_hidden: usize,
    /// `n_genes + 1` offsets: the weights of gene `g` are slots `offsets[g]..offsets[g + 1]`.
    pub offsets: Vec<u32>,
    /// Hidden unit of each slot.
    pub hidden: Vec<u16>,
    /// One list per mask.
    pub masks: Vec<ConnectionList>,
}

impl Wiring {
    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of weights: connections that exist in at least one mask.
    pub fn n_slots(&self) -> usize {
        self.hidden.len()
    }

    /// The mask that a batch's cells use.
    #[inline]
    pub fn mask(&self, batch: usize) -> &ConnectionList {
        &self.masks[self.mask_index(batch)]
    }

    /// Where that mask stands: all batches share the only one, or each has its own.
    #[inline]
    pub fn mask_index(&self, batch: usize) -> usize {
        batch.min(self.masks.len() - 1)
    }
}
