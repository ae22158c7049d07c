//! What cells are compared by.

use crate::counts::CountsView;

/// Counts of all cells are brought to this before their logarithms are compared.
const TOTAL: f64 = 1e4;

/// Calls `visit` with the logarithms of a cell's normalised counts.
pub(crate) fn log_profile(view: &CountsView, cell: usize, mut visit: impl FnMut(u32, f32)) {
    let factor = TOTAL / view.library(cell).max(1.0);
    view.for_each_in_cell(cell, |gene, count| {
        visit(gene, (f64::from(count) * factor).ln_1p() as f32);
    });
}
