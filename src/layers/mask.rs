//! The binary mask of a sparsely connected layer (paper, section 2.2).

use rand::seq::index;
use rand::Rng;

/// Which hidden units each gene is connected to, one bit a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionMask {
    n_genes: usize,
    n_hidden: usize,
    words_per_gene: usize,
    bits: Vec<u64>,
}

impl ConnectionMask {
    /// A mask without a connection.
    pub fn empty(n_genes: usize, n_hidden: usize) -> Self {
        let words_per_gene = n_hidden.div_ceil(64);
        ConnectionMask {
            n_genes,
            n_hidden,
            words_per_gene,
            bits: vec![0; n_genes * words_per_gene],
        }
    }

    /// Every gene connected to `n_init` hidden units drawn at random.
    pub fn random(n_genes: usize, n_hidden: usize, n_init: usize, rng: &mut impl Rng) -> Self {
        let mut mask = Self::empty(n_genes, n_hidden);
        for gene in 0..n_genes {
            for unit in index::sample(rng, n_hidden, n_init.min(n_hidden)) {
                mask.connect(gene, unit);
            }
        }
        mask
    }

    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.n_genes
    }

    /// Number of hidden units.
    pub fn n_hidden(&self) -> usize {
        self.n_hidden
    }

    /// Whether a gene is connected to a hidden unit.
    pub fn is_connected(&self, gene: usize, unit: usize) -> bool {
        self.bits[gene * self.words_per_gene + unit / 64] >> (unit % 64) & 1 == 1
    }

    /// Connects a gene to a hidden unit.
    pub fn connect(&mut self, gene: usize, unit: usize) {
        self.bits[gene * self.words_per_gene + unit / 64] |= 1 << (unit % 64);
    }

    /// Takes a connection away.
    pub fn disconnect(&mut self, gene: usize, unit: usize) {
        self.bits[gene * self.words_per_gene + unit / 64] &= !(1 << (unit % 64));
    }

    /// Number of connections of a gene.
    pub fn n_of_gene(&self, gene: usize) -> usize {
        self.words(gene)
            .iter()
            .map(|w| w.count_ones() as usize)
            .sum()
    }

    /// Number of connections in all.
    pub fn total(&self) -> usize {
        self.bits.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Hidden units that a gene is connected to, increasing.
    pub fn units(&self, gene: usize) -> impl Iterator<Item = usize> + '_ {
        ones(self.words(gene).iter().copied())
    }

    /// Hidden units that a gene is not connected to, increasing.
    pub fn free_units(&self, gene: usize) -> impl Iterator<Item = usize> + '_ {
        let words = self.words(gene).iter().map(|word| !word);
        ones(words).take_while(|&unit| unit < self.n_hidden)
    }

    /// Adds every connection of another mask.
    pub fn unite(&mut self, other: &ConnectionMask) {
        for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
            *mine |= theirs;
        }
    }

    fn words(&self, gene: usize) -> &[u64] {
        &self.bits[gene * self.words_per_gene..(gene + 1) * self.words_per_gene]
    }
}

/// Places of the ones among the bits of some words, increasing.
fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(place, mut word)| {
        std::iter::from_fn(move || {
            let bit = word.trailing_zeros() as usize;
            (word != 0).then(|| {
                word &= word - 1;
                64 * place + bit
            })
        })
    })
}
