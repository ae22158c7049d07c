//! Cells in tiles of one fixed width: every inner loop of the decoder's passes runs over a tile.

use std::ops::Range;

use pulp::Simd;

use super::product::sum;

/// Cells of a tile: enough for the widest vectors, few enough that the hidden units of a tile stay in the first-level
/// cache.
pub(super) const TILE: usize = 128;

/// One value for each cell of a tile, on a cache line's boundary.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Row(pub(super) [f32; TILE]);

impl Row {
    pub(super) const ZERO: Row = Row([0.0; TILE]);
}

/// Cells of a tile, side by side, that share a mask.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) mask: usize,
    pub(super) cells: Range<usize>,
}

/// How a mini-batch's cells are cut into tiles. The last tile may be partly empty.
#[derive(Debug, Clone)]
pub(super) struct Tiling {
    pub(super) n_cells: usize,
    /// The cells of each batch, side by side and in order.
    segments: Vec<Range<usize>>,
    /// The runs of each tile; cells are counted within the tile.
    pub(super) runs: Vec<Vec<Run>>,
}

impl Tiling {
    /// `segments` are the cells of each batch, in order and without gaps; with one mask they all belong together.
    pub(super) fn new(segments: &[Range<usize>], n_masks: usize) -> Self {
        let n_cells = segments.last().map_or(0, |s| s.end);
        let of_masks = if n_masks == 1 {
            std::slice::from_ref(&(0..n_cells)).to_vec()
        } else {
            segments.to_vec()
        };
        let runs = (0..n_cells)
            .step_by(TILE)
            .map(|start| {
                let end = (start + TILE).min(n_cells);
                let mut runs = Vec::new();
                for (mask, cells) in of_masks.iter().enumerate() {
                    let (from, to) = (cells.start.max(start), cells.end.min(end));
                    if from < to {
                        runs.push(Run {
                            mask,
                            cells: from - start..to - start,
                        });
                    }
                }
                runs
            })
            .collect();
        Tiling {
            n_cells,
            segments: segments.to_vec(),
            runs,
        }
    }

    /// The cells of each batch that a tile holds, counted within the tile; batches without a cell there are left out.
    #[inline(always)]
    pub(super) fn batches(&self, tile: usize) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let cells = self.cells(tile);
        let segments = self.segments.iter().enumerate();
        segments.filter_map(move |(batch, segment)| {
            let (from, to) = (segment.start.max(cells.start), segment.end.min(cells.end));
            (from < to).then(|| (batch, from - cells.start..to - cells.start))
        })
    }

    /// A row that holds a gene's bias, which may differ from batch to batch: `bias` has one value per gene, or one per
    /// gene and batch, a gene's values side by side.
    #[inline(always)]
    pub(super) fn start(&self, tile: usize, bias: &[f32], n_genes: usize, gene: usize) -> Row {
        if bias.len() == n_genes {
            return Row([bias[gene]; TILE]);
        }
        let n = self.segments.len();
        let mut row = Row::ZERO;
        for (batch, cells) in self.batches(tile) {
            row.0[cells].fill(bias[gene * n + batch]);
        }
        row
    }

    /// Adds a row's values to their bias's: the way back of [`Tiling::start`]. `sums` are those of the gene.
    #[inline(always)]
    pub(super) fn add_to_bias<S: Simd>(&self, simd: S, tile: usize, row: &Row, sums: &mut [f32]) {
        if let [total] = sums {
            *total += sum(simd, row);
            return;
        }
        for (batch, cells) in self.batches(tile) {
            sums[batch] += row.0[cells].iter().sum::<f32>();
        }
    }

    pub(super) fn n_tiles(&self) -> usize {
        self.runs.len()
    }

    /// The cells of a tile.
    pub(super) fn cells(&self, tile: usize) -> Range<usize> {
        let start = tile * TILE;
        start..(start + TILE).min(self.n_cells)
    }

    /// From cells x `width` to tiles x `width` x cells of the tile; `rows` is overwritten.
    pub(super) fn spread(&self, values: &[f32], width: usize, rows: &mut Vec<Row>) {
        rows.clear();
        rows.resize(self.n_tiles() * width, Row::ZERO);
        for (cell, values) in values.chunks_exact(width).enumerate() {
            let of_tile = &mut rows[cell / TILE * width..][..width];
            for (row, &value) in std::iter::zip(of_tile, values) {
                row.0[cell % TILE] = value;
            }
        }
    }

    /// The way back.
    pub(super) fn collect(&self, rows: &[Row], width: usize, values: &mut Vec<f32>) {
        values.clear();
        for cell in 0..self.n_cells {
            let of_tile = &rows[cell / TILE * width..][..width];
            values.extend(of_tile.iter().map(|row| row.0[cell % TILE]));
        }
    }
}
