//! Seeded random streams: one per purpose, so that one use of randomness never shifts another.

use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Which cells are held out for validation.
    Split = 1,
    /// Starting connections of the sparsely connected layers.
    Connections,
    /// Starting weights; the index names the parameter.
    Weights,
    /// Which cells a mini-batch holds.
    Cells,
    /// Sequencing depth factors.
    Depth,
    /// Reparameterisation noise in training.
    Latent,
    /// Reparameterisation noise in validation, the same at every check.
    Validation,
    /// Connection adjustment; the index is the batch.
    Adjustment,
    /// Dropout of hidden units.
    Dropout,
    /// Seeds of repeated fits.
    Repeats,
    /// Where the groups of cells that a model remembers start from.
    CellGroups,
    /// Which cells of large batches are compared with those of other batches.
    Matching,
    /// How counts are dealt anew to cells; the index is the copy.
    NullCopies,
    /// Where the search for the components of the decoded expression starts from.
    Components,
}

/// Source of all streams of one seed.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// Streams of a seed.
    pub fn new(seed: u64) -> Self {
        Streams { seed }
    }

    /// The stream of a purpose; `index` tells streams of the same purpose apart.
    pub fn stream(&self, purpose: Purpose, index: u32) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream((purpose as u64) << 32 | u64::from(index));
        rng
    }
}
