//! What the kernels work on.

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
