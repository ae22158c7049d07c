//! Cells of the same batch and of about the same depth: within them a gene's counts can be told apart only by what the
//! cells are.

use crate::counts::CountsView;

/// Most strata of a batch: tenths of the cells are of nearly the same depth.
const MOST: usize = 10;
/// Fewest cells of a stratum, unless its batch has fewer: with less, little is left to permute.
const FEWEST_CELLS: usize = 40;

/// The strata of each batch, each a list of the view's cells, from shallow to deep.
pub(super) fn strata(view: &CountsView, batch: &[usize], n_batches: usize) -> Vec<Vec<Vec<usize>>> {
    let mut of_batches = vec![Vec::new(); n_batches];
    for (cell, &b) in batch.iter().enumerate() {
        of_batches[b].push((view.library(cell), cell));
    }
    let by_depth = of_batches.into_iter().map(|mut cells| {
        cells.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let n_strata = (cells.len() / FEWEST_CELLS).clamp(1, MOST);
        let bound = |stratum: usize| stratum * cells.len() / n_strata;
        let strata = (0..n_strata).map(|s| cells[bound(s)..bound(s + 1)].iter());
        strata
            .map(|cells| cells.map(|&(_, cell)| cell).collect::<Vec<_>>())
            .filter(|cells: &Vec<usize>| !cells.is_empty())
            .collect()
    });
    by_depth.collect()
}
