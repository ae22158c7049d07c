//! Which rows of a mini-batch belong together, as the kernels read it: see `Rows` in `src/kernels/cuda/common.cuh`.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::Result as CandleResult;

use super::arguments::{Address, Rows};
use super::card::{address, Card};
use crate::kernels::Segment;

/// Cells of a tile.
pub(super) const CELLS: usize = 128;

/// The rows of a mini-batch, in one piece of memory that is brought to the card at once.
#[derive(Debug)]
pub(super) struct DeviceRows {
    numbers: CudaSlice<u32>,
    n_cells: usize,
    n_segments: usize,
    n_pieces: usize,
    first_extra: usize,
}

impl DeviceRows {
    /// `extra` are numbers that travel along.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub(super) fn new(card: &Card, segments: &[Segment], extra: &[u32]) -> CandleResult<Self> {
        let n_cells = segments.last().map_or(0, |s| s.rows.end);
        let mut numbers = Vec::new();
        for (s, segment) in segments.iter().enumerate() {
            numbers.extend(std::iter::repeat_n(s as u32, segment.rows.len()));
        }
        let (first_pieces, pieces) = pieces(segments);
        let n_pieces = pieces.last().map_or(0, |&n| n as usize);
        numbers.extend(first_pieces);
        numbers.extend(pieces);
        let first_extra = numbers.len();
        numbers.extend(extra);
        Ok(DeviceRows {
            numbers: card.copy(&numbers)?,
            n_cells,
            n_segments: segments.len(),
            n_pieces,
            first_extra,
        })
    }

    /// The same, of cells that nothing is asked about but their number.
    pub(super) fn of_cells(self, n_cells: usize) -> Self {
        DeviceRows { n_cells, ..self }
    }

    pub(super) fn n_pieces(&self) -> usize {
        self.n_pieces
    }

    fn at(&self, place: usize) -> Address {
        Address(address(&self.numbers).0 + (place * size_of::<u32>()) as u64)
    }

    /// Where the numbers that travelled along stand, from one of them on.
    pub(super) fn extra(&self, place: usize) -> Address {
        self.at(self.first_extra + place)
    }

    pub(super) fn arguments(&self) -> Rows {
        let n_tiles = self.n_cells.div_ceil(CELLS);
        Rows {
            n: self.n_cells as i32,
            n_segments: self.n_segments as i32,
            n_pieces: self.n_pieces as i32,
            segment: self.at(0),
            first_piece: self.at(self.n_cells),
            pieces: self.at(self.n_cells + n_tiles),
        }
    }
}

/// The first piece of each tile, and the first of each segment with the number of all behind them. A piece is what a tile
/// holds of a segment; both follow one another, so a segment's pieces do, too.
fn pieces(segments: &[Segment]) -> (Vec<u32>, Vec<u32>) {
    let n_cells = segments.last().map_or(0, |s| s.rows.end);
    let (mut of_tiles, mut of_segments, mut n) = (Vec::new(), Vec::new(), 0);
    for segment in segments {
        of_segments.push(n);
        for tile in segment.rows.start / CELLS..segment.rows.end.div_ceil(CELLS) {
            if tile == of_tiles.len() {
                of_tiles.push(n);
            }
            n += 1;
        }
    }
    debug_assert_eq!(of_tiles.len(), n_cells.div_ceil(CELLS));
    of_segments.push(n);
    (of_tiles, of_segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_tiles_hold_of_segments() {
        let rows = [0..100, 100..140, 140..141, 141..300];
        let segments = rows.map(|rows| Segment { batch: 0, rows });
        // Tile 0 holds segments 0 and 1, tile 1 segments 1, 2 and 3, tile 2 segment 3.
        let (of_tiles, of_segments) = pieces(&segments);
        assert_eq!(of_tiles, [0, 2, 5]);
        assert_eq!(of_segments, [0, 1, 3, 4, 6]);
    }
}
