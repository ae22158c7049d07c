//! Which cells a mini-batch holds: drawn with replacement, the same number of every batch (paper, appendix A.1.2).

use rand::seq::{index, SliceRandom};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Purpose, Streams};

/// How the cells of an epoch are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Uniformly with replacement, from every batch in proportion to its cells.
    Replacement,
    /// With replacement, the same number from every batch (the paper's way).
    Balanced,
    /// Every cell once an epoch, in random order, batches as they come (scVI's way).
    Shuffle,
}

/// Cells of each batch that train and that validate.
#[derive(Debug, Clone, Default)]
pub struct Split {
    /// Per batch, the view's cells that train.
    pub train: Vec<Vec<usize>>,
    /// Per batch, the view's cells held out.
    pub validation: Vec<Vec<usize>>,
}

impl Split {
    /// Holds out `1 - train_size` of every batch's cells, at least one cell of a batch always trains.
    pub fn draw(batch: &[usize], n_batches: usize, train_size: f64, streams: Streams) -> Self {
        let mut rng = streams.stream(Purpose::Split, 0);
        let mut split = Split {
            train: vec![Vec::new(); n_batches],
            validation: vec![Vec::new(); n_batches],
        };
        for b in 0..n_batches {
            let cells: Vec<usize> = (0..batch.len()).filter(|&c| batch[c] == b).collect();
            if cells.is_empty() {
                continue;
            }
            let n_train = ((cells.len() as f64 * train_size).ceil() as usize).clamp(1, cells.len());
            let mut held_out = vec![true; cells.len()];
            for i in index::sample(&mut rng, cells.len(), n_train) {
                held_out[i] = false;
            }
            for (cell, out) in cells.into_iter().zip(held_out) {
                if out {
                    split.validation[b].push(cell);
                } else {
                    split.train[b].push(cell);
                }
            }
        }
        split
    }

    /// Number of training cells.
    pub fn n_train(&self) -> usize {
        self.train.iter().map(Vec::len).sum()
    }

    /// Number of validation cells.
    pub fn n_validation(&self) -> usize {
        self.validation.iter().map(Vec::len).sum()
    }
}

/// Draws the mini-batches of every epoch, with their depth factors.
#[derive(Debug)]
pub struct Sampler {
    cells: Vec<Vec<usize>>,
    batch_size: usize,
    sampling: Sampling,
    depth_range: f32,
    cell_rng: ChaCha8Rng,
    depth_rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler over the training cells of each batch.
    pub fn new(
        cells: Vec<Vec<usize>>,
        batch_size: usize,
        sampling: Sampling,
        depth_range: f64,
        streams: Streams,
    ) -> Self {
        Sampler {
            cells,
            batch_size,
            sampling,
            depth_range: depth_range as f32,
            cell_rng: streams.stream(Purpose::Cells, 0),
            depth_rng: streams.stream(Purpose::Depth, 0),
        }
    }

    /// How far its random streams are.
    pub fn positions(&self) -> [u128; 2] {
        [&self.cell_rng, &self.depth_rng].map(ChaCha8Rng::get_word_pos)
    }

    /// Goes to where another sampler of the same cells and seed was.
    pub fn go_to(&mut self, [cells, depth]: [u128; 2]) {
        self.cell_rng.set_word_pos(cells);
        self.depth_rng.set_word_pos(depth);
    }

    /// The cells of every mini-batch of one epoch, grouped by batch.
    pub fn epoch(&mut self) -> Vec<Vec<Vec<usize>>> {
        match self.sampling {
            Sampling::Replacement | Sampling::Balanced => self.with_replacement(),
            Sampling::Shuffle => self.shuffled(),
        }
    }

    /// Fresh depth factors for the cells of a mini-batch.
    pub fn depth(&mut self, cells: &[Vec<usize>]) -> Vec<f32> {
        let n: usize = cells.iter().map(Vec::len).sum();
        let range = self.depth_range;
        (0..n)
            .map(|_| 1.0 + range * (2.0 * self.depth_rng.random::<f32>() - 1.0))
            .collect()
    }

    fn with_replacement(&mut self) -> Vec<Vec<Vec<usize>>> {
        let n: usize = self.cells.iter().map(Vec::len).sum();
        let n_drawn = self.batch_size.min(n);
        let steps = n.div_ceil(n_drawn.max(1));
        let weights: Vec<f64> = match self.sampling {
            Sampling::Balanced => self
                .cells
                .iter()
                .map(|c| f64::from(!c.is_empty()))
                .collect(),
            _ => self.cells.iter().map(|c| c.len() as f64).collect(),
        };
        let one_batch = weights.iter().filter(|&&w| w > 0.0).count() < 2;
        let rng = &mut self.cell_rng;
        (0..steps)
            .map(|_| {
                let start = if one_batch { 0.0 } else { rng.random() };
                let shares = shares(&weights, n_drawn, start);
                let batches = self.cells.iter().zip(shares);
                let drawn = batches.map(|(cells, k)| {
                    let draws = (0..k).map(|_| cells[rng.random_range(0..cells.len())]);
                    draws.collect()
                });
                drawn.collect()
            })
            .collect()
    }

    fn shuffled(&mut self) -> Vec<Vec<Vec<usize>>> {
        let mut all: Vec<(usize, usize)> = self
            .cells
            .iter()
            .enumerate()
            .flat_map(|(b, cells)| cells.iter().map(move |&c| (b, c)))
            .collect();
        all.shuffle(&mut self.cell_rng);
        let n_batches = self.cells.len();
        // Batch normalisation needs some cells: a short rest joins the step before it.
        let steps = (all.len() / self.batch_size).max(1)
            + usize::from(all.len() > self.batch_size && all.len() % self.batch_size > 2);
        (0..steps)
            .map(|step| {
                let start = step * self.batch_size;
                let end = if step + 1 == steps {
                    all.len()
                } else {
                    start + self.batch_size
                };
                let mut groups = vec![Vec::new(); n_batches];
                for &(b, c) in &all[start..end] {
                    groups[b].push(c);
                }
                groups
            })
            .collect()
    }
}

/// Splits `n` draws in proportion to weights, each share rounded up or down so that its mean over `start`, uniform in
/// 0..1, is exact.
fn shares(weights: &[f64], n: usize, start: f64) -> Vec<usize> {
    let total: f64 = weights.iter().sum();
    let (mut sum, mut drawn) = (0.0, 0);
    let mut shares: Vec<usize> = Vec::with_capacity(weights.len());
    for &weight in weights {
        sum += weight;
        // Up to here so many; the last of those with a weight ends at n whatever the rounding.
        let up_to = if sum >= total {
            n
        } else {
            ((sum / total * n as f64 + start) as usize).min(n)
        };
        shares.push(up_to - drawn);
        drawn = up_to;
    }
    shares
}

/// Splits cells given in any order into chunks grouped by batch: for passes over all cells without randomness.
/// Each chunk comes with the position of its rows in the order given.
pub fn chunks(
    cells: &[usize],
    batch: &[usize],
    n_batches: usize,
    size: usize,
) -> Vec<(Vec<Vec<usize>>, Vec<usize>)> {
    (0..cells.len())
        .collect::<Vec<_>>()
        .chunks(size.max(1))
        .map(|positions| {
            let mut groups = vec![Vec::new(); n_batches];
            let mut order = positions.to_vec();
            order.sort_by_key(|&p| batch[p]);
            for &p in &order {
                groups[batch[p]].push(cells[p]);
            }
            (groups, order)
        })
        .collect()
}
