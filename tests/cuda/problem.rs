//! Random mini-batches, connections and parameters, for the processor and for the card.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma, Poisson};
use scvae::counts::{filter, CountMatrix};
use scvae::kernels::{Segment, Wiring};
use scvae::layers::{wire, ConnectionMask};
use scvae::sampling::{CellRows, MiniBatch};

/// A mini-batch and a layer that fits it.
pub struct Problem {
    pub matrix: CountMatrix<'static>,
    /// Cells of each batch.
    pub groups: Vec<Vec<usize>>,
    pub depth: Vec<f32>,
    pub minibatch: MiniBatch,
    pub wiring: Arc<Wiring>,
    rng: ChaCha8Rng,
}

impl Problem {
    /// Of batches with so many cells; `n_masks` is one, or the number of batches.
    pub fn new(n_genes: usize, n_hidden: usize, cells: &[usize], n_masks: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(n_genes as u64);
        let n_cells: usize = cells.iter().sum();
        let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
        let means = Gamma::new(0.4, 2.5).unwrap();
        let means: Vec<f64> = (0..n_genes).map(|_| means.sample(&mut rng)).collect();
        for _ in 0..n_cells {
            for (gene, mean) in means.iter().enumerate() {
                // One gene has counts beyond what is multiplied out.
                let mean = if gene == 1 { 60.0 } else { mean + 1e-3 };
                let count: f64 = rng.sample(Poisson::new(mean).unwrap());
                if count > 0.0 {
                    genes.push(gene as u32);
                    values.push(count as f32);
                }
            }
            offsets.push(genes.len());
        }
        let matrix = CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap();
        let mut start = 0;
        let groups: Vec<Vec<usize>> = cells
            .iter()
            .map(|&n| {
                start += n;
                // Not in the order of the matrix.
                (start - n..start).rev().collect()
            })
            .collect();
        let depth: Vec<f32> = (0..n_cells).map(|_| rng.random_range(0.9..1.1)).collect();
        let minibatch = MiniBatch::gather(&filter(&matrix, 0, 0).unwrap(), &groups, Some(&depth));
        let masks: Vec<ConnectionMask> = (0..n_masks)
            .map(|_| {
                let n = (n_hidden / 4).max(1);
                let mut mask = ConnectionMask::random(n_genes, n_hidden, n, &mut rng);
                // Genes differ in the number of their connections; one has none.
                (0..n_hidden).for_each(|unit| mask.disconnect(0, unit));
                (0..n_hidden).for_each(|unit| mask.connect(n_genes / 2, unit));
                mask
            })
            .collect();
        Problem {
            groups,
            depth,
            minibatch,
            wiring: Arc::new(wire(&masks)),
            matrix,
            rng,
        }
    }

    pub fn segments(&self) -> &[Segment] {
        &self.minibatch.segments
    }

    pub fn n_cells(&self) -> usize {
        self.minibatch.n_cells()
    }

    /// Random numbers, on the processor.
    pub fn tensor(&mut self, shape: &[usize], low: f32, high: f32) -> Tensor {
        let values = (0..shape.iter().product()).map(|_| self.rng.random_range(low..high));
        Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
    }
}

/// Smaller values than this count as rounding: a bias that a normalisation takes out has no gradient, say.
const SMALL: f64 = 1e-2;

/// Holds a tensor of the card against one of the processor: the difference may be `relative` to the largest value.
pub fn assert_same(card: &Tensor, cpu: &Tensor, relative: f64, what: &str) {
    assert_eq!(card.dims(), cpu.dims(), "{what}");
    let of = |tensor: &Tensor| -> Vec<f64> {
        let flat = tensor
            .to_device(&Device::Cpu)
            .unwrap()
            .flatten_all()
            .unwrap();
        flat.to_dtype(candle_core::DType::F64)
            .unwrap()
            .to_vec1()
            .unwrap()
    };
    let (card, cpu, relative) = (of(card), of(cpu), crate::error(relative));
    let largest = cpu.iter().fold(SMALL, |most, x| most.max(x.abs()));
    for (i, (card, cpu)) in card.iter().zip(&cpu).enumerate() {
        assert!(
            (card - cpu).abs() <= relative * largest,
            "{what}: {card} instead of {cpu} at {i}, the largest is {largest}"
        );
    }
}

/// The bits of a tensor.
pub fn bits(tensor: &Tensor) -> Vec<u32> {
    let flat = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    flat.into_iter().map(f32::to_bits).collect()
}
