//! The partition of the genes over which kernels run in parallel. It depends on the problem alone, never on the
//! number of threads, so that sums over blocks give the same bits on any machine load.

use std::ops::Range;

use rayon::prelude::*;

use super::types::Wiring;

/// Number of blocks at most: enough for many threads, few enough that partial sums stay small.
const MOST_BLOCKS: usize = 32;
/// Genes in a block at least.
const FEWEST_GENES: usize = 32;

/// Ranges of genes, in order, that cover `0..n_genes`.
pub fn gene_blocks(n_genes: usize) -> Vec<Range<usize>> {
    let size = n_genes.div_ceil(MOST_BLOCKS).max(FEWEST_GENES);
    (0..n_genes)
        .step_by(size)
        .map(|start| start..(start + size).min(n_genes))
        .collect()
}

/// Cuts a slice into the given consecutive lengths.
pub fn cut<T>(mut slice: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    lengths
        .map(|n| {
            let (head, tail) = std::mem::take(&mut slice).split_at_mut(n);
            slice = tail;
            head
        })
        .collect()
}

/// One value for each slot of the wiring; `fill` writes those of some genes, in parallel.
pub fn of_slots(wiring: &Wiring, fill: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Vec<f32> {
    let mut values = vec![0.0; wiring.n_slots()];
    let blocks = gene_blocks(wiring.n_genes());
    let slots_of = |r: &Range<usize>| (wiring.offsets[r.end] - wiring.offsets[r.start]) as usize;
    let parts = cut(&mut values, blocks.iter().map(slots_of));
    let blocks = blocks.into_par_iter().zip(parts);
    blocks.for_each(|(genes, values)| fill(genes, values));
    values
}
