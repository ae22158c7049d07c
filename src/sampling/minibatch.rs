//! A mini-batch as the kernels need it: by gene.

use std::sync::Arc;

use crate::counts::CountsView;
use crate::kernels::{log1p, GeneMajorCounts, Segment};

/// Cells that are grouped by batch.
pub trait CellRows {
    /// Rows of each batch that has a cell here.
    fn segments(&self) -> &Arc<Vec<Segment>>;

    /// Number of cells.
    fn n_cells(&self) -> usize {
        self.segments().last().map_or(0, |s| s.rows.end)
    }
}

/// Cells of one step, grouped by batch so that every layer finds a batch's rows side by side.
#[derive(Debug, Clone)]
pub struct MiniBatch {
    /// Rows of each batch that has a cell here.
    pub segments: Arc<Vec<Segment>>,
    /// log1p of the (depth-augmented) counts, in the order of `counts`: the encoder's input.
    pub input: Arc<Vec<f32>>,
    /// The cells' depth factors, if there are any.
    pub depth: Option<Arc<Vec<f32>>>,
    /// The raw counts, by gene: the likelihood's target.
    pub counts: Arc<GeneMajorCounts>,
    /// Log of each cell's total count.
    pub log_library: Arc<Vec<f32>>,
}

impl MiniBatch {
    /// Gathers cells. `cells` holds, per batch, the view's cells to take; `depth`, if given, one factor per cell in
    /// the same order, applied to the encoder's input only.
    pub fn gather(view: &CountsView, cells: &[Vec<usize>], depth: Option<&[f32]>) -> Self {
        let segments = segments_of(cells);
        let n_cells: usize = cells.iter().map(Vec::len).sum();
        let mut offsets = Vec::with_capacity(n_cells + 1);
        offsets.push(0u32);
        let (mut genes, mut raw) = (Vec::new(), Vec::new());
        let mut log_library = Vec::with_capacity(n_cells);
        for &cell in cells.iter().flatten() {
            let mut library = 0.0f64;
            view.for_each_in_cell(cell, |gene, count| {
                genes.push(gene);
                raw.push(count);
                library += f64::from(count);
            });
            offsets.push(genes.len() as u32);
            log_library.push(log_library_of(library));
        }
        let counts = by_gene(&offsets, &genes, &raw, view.n_genes());
        let mut input = vec![0.0; counts.counts.len()];
        log1p(&counts, depth, &mut input);
        MiniBatch {
            segments: Arc::new(segments),
            input: Arc::new(input),
            depth: depth.map(|depth| Arc::new(depth.to_vec())),
            counts: Arc::new(counts),
            log_library: Arc::new(log_library),
        }
    }
}

impl CellRows for MiniBatch {
    fn segments(&self) -> &Arc<Vec<Segment>> {
        &self.segments
    }
}

/// The rows of each batch that has a cell; `cells` has those of every batch.
pub(crate) fn segments_of(cells: &[Vec<usize>]) -> Vec<Segment> {
    let mut start = 0;
    let of_batches = cells.iter().enumerate().map(|(batch, cells)| {
        let rows = start..start + cells.len();
        start = rows.end;
        Segment { batch, rows }
    });
    of_batches.filter(|s| !s.rows.is_empty()).collect()
}

/// The logarithm of a cell's total count. A cell without a count would have one of log(0); one count keeps it finite and
/// harmless.
pub(crate) fn log_library_of(total: f64) -> f32 {
    total.max(1.0).ln() as f32
}

/// Turns entries compressed by cell into entries compressed by gene, cells increasing within a gene.
fn by_gene(offsets: &[u32], genes: &[u32], raw: &[f32], n_genes: usize) -> GeneMajorCounts {
    let mut starts = vec![0u32; n_genes + 1];
    for &g in genes {
        starts[g as usize + 1] += 1;
    }
    for g in 0..n_genes {
        starts[g + 1] += starts[g];
    }
    let mut next = starts.clone();
    let mut cells = vec![0u32; genes.len()];
    let mut counts = vec![0f32; genes.len()];
    for (cell, w) in offsets.windows(2).enumerate() {
        let span = w[0] as usize..w[1] as usize;
        for (&gene, &count) in genes[span.clone()].iter().zip(&raw[span]) {
            let at = &mut next[gene as usize];
            cells[*at as usize] = cell as u32;
            counts[*at as usize] = count;
            *at += 1;
        }
    }
    GeneMajorCounts {
        n_cells: offsets.len() - 1,
        offsets: starts,
        cells,
        counts,
    }
}
