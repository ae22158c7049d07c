//! The partition of the genes over which kernels run in parallel. It depends on the problem alone, never on the
//! number of threads, so that sums over blocks give the same bits on any machine load.

use std::ops::Range;

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
