//! Cells in tiles of one fixed width: every inner loop of the decoder's passes runs over a tile.

use std::ops::Range;

use pulp::Simd;

use super::row::{sum, Row, TILE};
use super::types::{Segment, Wiring};

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
    /// The segments that each tile holds something of, by number; cells are counted within the tile.
    segments: Vec<Vec<(usize, Range<usize>)>>,
    /// The runs of each tile; cells are counted within the tile.
    pub(super) runs: Vec<Vec<Run>>,
}

impl Tiling {
    /// `segments` are in order and without gaps; with one mask all cells belong together.
    pub(super) fn new(segments: &[Segment], wiring: &Wiring) -> Self {
        let n_cells = segments.last().map_or(0, |s| s.rows.end);
        let n_tiles = n_cells.div_ceil(TILE);
        let mut of_tiles = vec![Vec::new(); n_tiles];
        for (number, Segment { rows, .. }) in segments.iter().enumerate() {
            let mut from = rows.start;
            while from < rows.end {
                let (tile, start) = (from / TILE, from / TILE * TILE);
                let to = rows.end.min(start + TILE);
                of_tiles[tile].push((number, from - start..to - start));
                from = to;
            }
        }
        let run = |(number, cells): &(usize, Range<usize>)| Run {
            mask: wiring.mask_index(segments[*number].batch),
            cells: cells.clone(),
        };
        let runs = (0..n_tiles).map(|tile| {
            if wiring.masks.len() == 1 {
                let cells = 0..(n_cells - tile * TILE).min(TILE);
                return vec![Run { mask: 0, cells }];
            }
            of_tiles[tile].iter().map(run).collect()
        });
        Tiling {
            n_cells,
            runs: runs.collect(),
            segments: of_tiles,
        }
    }

    /// The segments that a tile holds something of, by number, and their cells, counted within the tile.
    #[inline(always)]
    pub(super) fn segments(&self, tile: usize) -> &[(usize, Range<usize>)] {
        &self.segments[tile]
    }

    /// A row that holds a gene's bias, which may differ from segment to segment: `bias` has one value per gene, or is
    /// segments x genes.
    #[inline(always)]
    pub(super) fn bias_row(&self, tile: usize, bias: &[f32], n_genes: usize, gene: usize) -> Row {
        if bias.len() == n_genes {
            return Row([bias[gene]; TILE]);
        }
        let mut row = Row::ZERO;
        for (segment, cells) in self.segments(tile) {
            row.0[cells.clone()].fill(bias[segment * n_genes + gene]);
        }
        row
    }

    /// Adds a row's values to their bias's: the way back of [`Tiling::bias_row`]. `sums` are those of the gene, one for each
    /// segment if `by_segment`.
    #[inline(always)]
    pub(super) fn add_to_bias<S: Simd>(
        &self,
        simd: S,
        tile: usize,
        row: &Row,
        by_segment: bool,
        sums: &mut [f32],
    ) {
        if !by_segment {
            sums[0] += sum(simd, row);
            return;
        }
        for (segment, cells) in self.segments(tile) {
            sums[*segment] += row.0[cells.clone()].iter().sum::<f32>();
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
