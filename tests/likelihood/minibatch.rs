//! Mini-batches, the fused pass over them, and the same in double precision the slow way.

use pulp::Arch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::kernels::{
    decode_loss, special, DecodeLossInput, GeneMajorCounts, GeneStatistic, Head, Likelihood,
    Parameters, Segment, Wiring, Workspace,
};
use scvae::layers::{wire, ConnectionMask};
use scvae::Result;

use crate::close::assert_close;

pub const ALL: [Likelihood; 3] = [Likelihood::Zinb, Likelihood::Nb, Likelihood::Poisson];

/// Segments of the given batches and sizes.
pub fn segments(sizes: &[(usize, usize)]) -> Vec<Segment> {
    let mut end = 0;
    let segments = sizes.iter().map(|&(batch, n)| {
        end += n;
        let rows = end - n..end;
        Segment { batch, rows }
    });
    segments.collect()
}

/// A mini-batch with the whole range of means, dispersions and counts.
pub struct Batch {
    pub scale: Vec<f32>,
    pub dropout: Vec<f32>,
    pub log_theta: Vec<f32>,
    pub log_library: Vec<f32>,
    pub counts: GeneMajorCounts,
    pub segments: Vec<Segment>,
}

impl Batch {
    pub fn new(n_genes: usize, n_cells: usize, wide: bool, seed: u64) -> Batch {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n = n_genes * n_cells;
        let mut between = |n: usize, low: f32, high: f32| -> Vec<f32> {
            (0..n).map(|_| rng.random_range(low..high)).collect()
        };
        let (spread, theta) = if wide { (13.0, 9.2) } else { (1.5, 1.5) };
        let scale = between(n, -spread, spread);
        let dropout = between(n, -8.0, 8.0);
        let log_theta = between(n_genes, -theta, theta);
        let log_library = between(n_cells, 0.0, if wide { 11.5 } else { 4.0 });
        let largest: &[f32] = if wide {
            &[1.0, 2.0, 3.0, 25.0, 700.0, 1e5]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let mut counts = GeneMajorCounts {
            n_cells,
            offsets: vec![0],
            ..Default::default()
        };
        for _ in 0..n_genes {
            for c in 0..n_cells {
                if rng.random_bool(0.2) {
                    counts.cells.push(c as u32);
                    counts
                        .counts
                        .push(largest[rng.random_range(0..largest.len())]);
                }
            }
            counts.offsets.push(counts.cells.len() as u32);
        }
        let third = n_cells / 3;
        Batch {
            scale,
            dropout,
            log_theta,
            log_library,
            counts,
            segments: match third {
                0 => segments(&[(2, n_cells)]),
                _ => segments(&[(0, third), (2, n_cells - third)]),
            },
        }
    }

    /// The fused pass with these very logits: as many hidden units as cells, each cell with a unit of its own, and a
    /// weight of each gene and unit that is the cell's logit.
    pub fn fused(&self, likelihood: Likelihood, gradients: bool) -> Result<Fused> {
        self.fused_in(likelihood, gradients, &mut Workspace::default())
    }

    pub fn fused_in(
        &self,
        likelihood: Likelihood,
        gradients: bool,
        workspace: &mut Workspace,
    ) -> Result<Fused> {
        let (n_genes, n_cells) = (self.log_theta.len(), self.log_library.len());
        let wiring = wire(&[full_mask(n_genes, n_cells)]);
        let mut hidden = vec![0.0; n_cells * n_cells];
        (0..n_cells).for_each(|c| hidden[c * n_cells + c] = 1.0);
        let bias = vec![0.0; n_genes];
        let head = |weights| Head {
            weights,
            bias: &bias,
            bias_by_segment: false,
        };
        let input = DecodeLossInput {
            hidden: &hidden,
            segments: &self.segments,
            wiring: &wiring,
            scale: head(&self.scale),
            likelihood,
            dropout: likelihood.has_dropout().then(|| head(&self.dropout)),
            log_theta: likelihood.has_dispersion().then_some(&self.log_theta),
            log_library: &self.log_library,
            counts: &self.counts,
            statistics: &GeneStatistic::ALL,
        };
        let loss = decode_loss(Arch::new(), &input, gradients, workspace)?;
        let found = workspace.gradients.clone();
        Ok(Fused {
            loss,
            d_scale: found.scale.weights,
            d_dropout: found.dropout.weights,
            d_log_theta: found.log_theta.unwrap_or_default(),
            gene_sums: found.gene_sums,
        })
    }

    pub fn count(&self, g: usize, c: usize) -> f64 {
        let (cells, counts) = self.counts.gene(g);
        let found = cells.iter().position(|&cell| cell as usize == c);
        found.map_or(0.0, |i| f64::from(counts[i]))
    }

    pub fn naive(&self, likelihood: Likelihood) -> Naive {
        let scale: Vec<f64> = self.scale.iter().map(|&v| f64::from(v)).collect();
        let dropout: Vec<f64> = self.dropout.iter().map(|&v| f64::from(v)).collect();
        let log_theta: Vec<f64> = self.log_theta.iter().map(|&v| f64::from(v)).collect();
        self.naive_at(likelihood, &scale, &dropout, &log_theta)
    }

    /// Everything the fused pass computes, entry by entry in double precision.
    // Several arrays are walked side by side.
    #[allow(clippy::needless_range_loop)]
    pub fn naive_at(
        &self,
        likelihood: Likelihood,
        scale: &[f64],
        dropout: &[f64],
        log_theta: &[f64],
    ) -> Naive {
        let (n_genes, n_cells) = (log_theta.len(), self.log_library.len());
        let n = n_genes * n_cells;
        let mut out = Naive {
            loss: 0.0,
            d_scale: vec![0.0; n],
            d_dropout: vec![0.0; n],
            d_log_theta: vec![0.0; n_genes],
            gene_sums: vec![0.0; GeneStatistic::ALL.len() * self.segments.len() * n_genes],
            shares: vec![0.0; n],
            magnitude: vec![0.0; n_genes],
        };
        let part = -1.0 / n_cells as f64;
        for c in 0..n_cells {
            let column = |g: usize| scale[g * n_cells + c];
            let highest = (0..n_genes).map(column).fold(f64::MIN, f64::max);
            let sum: f64 = (0..n_genes).map(|g| (column(g) - highest).exp()).sum();
            let log_sum = highest + sum.ln();
            let mut total = 0.0;
            for g in 0..n_genes {
                let i = g * n_cells + c;
                let x = self.count(g, c);
                let a = column(g) - log_sum + f64::from(self.log_library[c]);
                let parameters = Parameters {
                    log_mu: a,
                    dropout: dropout[i],
                    log_theta: log_theta[g],
                };
                let entry = likelihood.log_probability(x, &parameters);
                let kept = if likelihood.has_dropout() {
                    special::sigmoid(-dropout[i])
                } else {
                    1.0
                };
                out.loss += part * entry.value;
                out.d_scale[i] = part * entry.d_log_mu;
                out.d_dropout[i] = part * entry.d_dropout;
                out.d_log_theta[g] += part * entry.d_log_theta;
                out.magnitude[g] += (part * entry.d_log_theta).abs();
                out.shares[i] = (column(g) - log_sum).exp();
                total += out.d_scale[i];
                let mean = kept * a.exp();
                let (share, library) = (out.shares[i], f64::from(self.log_library[c]).exp());
                let segment = self.segments.iter().position(|s| s.rows.contains(&c));
                for (k, statistic) in GeneStatistic::ALL.iter().enumerate() {
                    let at = (k * self.segments.len() + segment.unwrap()) * n_genes + g;
                    out.gene_sums[at] += match statistic {
                        GeneStatistic::SquaredError => (x - mean).powi(2),
                        GeneStatistic::LogSquaredError => (x.ln_1p() - mean.ln_1p()).powi(2),
                        GeneStatistic::Expected => mean,
                        GeneStatistic::SquaredExpected => mean.powi(2),
                        GeneStatistic::Count => x,
                        GeneStatistic::LogShare if x == 0.0 => 0.0,
                        GeneStatistic::LogShare => x * (column(g) - log_sum),
                        GeneStatistic::Rate => library * share,
                        GeneStatistic::Share => share,
                        // It needs the mean first, see below.
                        GeneStatistic::ShareVariation => 0.0,
                    };
                }
            }
            for g in 0..n_genes {
                let i = g * n_cells + c;
                out.d_scale[i] -= out.shares[i] * total;
            }
        }
        let last = GeneStatistic::ALL.len() - 1;
        assert_eq!(GeneStatistic::ALL[last], GeneStatistic::ShareVariation);
        for (s, segment) in self.segments.iter().enumerate() {
            for g in 0..n_genes {
                let shares = segment.rows.clone().map(|c| out.shares[g * n_cells + c]);
                let mean = shares.clone().sum::<f64>() / segment.rows.len() as f64;
                out.gene_sums[(last * self.segments.len() + s) * n_genes + g] =
                    shares.map(|share| (share - mean).powi(2)).sum();
            }
        }
        out
    }

    /// Whether sums over cells are those of the naive way. They are formed of single-precision entries, of which some are
    /// differences.
    pub fn assert_gene_sums(&self, got: &[f32], naive: &Naive) {
        assert_eq!(got.len(), naive.gene_sums.len());
        let n = self.log_theta.len();
        let n_segments = self.segments.len();
        let sum_of = |statistic: GeneStatistic, at: usize| {
            let k = GeneStatistic::ALL.iter().position(|&s| s == statistic);
            naive.gene_sums[k.unwrap() * n_segments * n + at]
        };
        for (i, (&got, &want)) in std::iter::zip(got, &naive.gene_sums).enumerate() {
            let statistic = GeneStatistic::ALL[i / (n_segments * n)];
            let at = i % (n_segments * n);
            let absolute = match statistic {
                GeneStatistic::SquaredError => 1e-9,
                GeneStatistic::LogSquaredError => 1e-5,
                // Below 1.6e-38 a share is taken as that, and its logarithm is rounded like the largest logit.
                GeneStatistic::LogShare => 1e-6 * sum_of(GeneStatistic::Count, at),
                GeneStatistic::ShareVariation => 1e-6 * sum_of(GeneStatistic::Share, at).powi(2),
                _ => 1e-30,
            };
            let what = format!("{statistic:?}[{at}]");
            assert_close(f64::from(got), want, 1e-4, absolute, &what);
        }
    }
}

fn full_mask(n_genes: usize, n_hidden: usize) -> ConnectionMask {
    let mut mask = ConnectionMask::empty(n_genes, n_hidden);
    for gene in 0..n_genes {
        (0..n_hidden).for_each(|unit| mask.connect(gene, unit));
    }
    mask
}

/// What the fused pass finds; gradients are empty if none were asked for.
pub struct Fused {
    pub loss: f64,
    pub d_scale: Vec<f32>,
    pub d_dropout: Vec<f32>,
    pub d_log_theta: Vec<f32>,
    /// Statistics x segments x genes, all there are.
    pub gene_sums: Vec<f32>,
}

pub struct Naive {
    pub loss: f64,
    pub d_scale: Vec<f64>,
    pub d_dropout: Vec<f64>,
    pub d_log_theta: Vec<f64>,
    /// Statistics x segments x genes, all there are.
    pub gene_sums: Vec<f64>,
    pub shares: Vec<f64>,
    /// Per gene, the sum of the absolute parts of `d_log_theta`, against which its rounding is measured.
    pub magnitude: Vec<f64>,
}

/// A decoder's last layer on top of a [`Batch`], whose logits it replaces.
pub struct Layer {
    pub wiring: Wiring,
    pub hidden: Vec<f32>,
    pub weights: [Vec<f32>; 2],
    pub bias: [Vec<f32>; 2],
}

impl Layer {
    /// Two masks if there are to be several, about four in ten connections each.
    pub fn new(batch: &Batch, n_hidden: usize, n_masks: usize, seed: u64) -> Self {
        let (n_genes, n_cells) = (batch.log_theta.len(), batch.log_library.len());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let masks: Vec<ConnectionMask> = (0..n_masks)
            .map(|_| {
                let mut mask = ConnectionMask::empty(n_genes, n_hidden);
                for gene in 0..n_genes {
                    for unit in 0..n_hidden {
                        if rng.random_bool(0.4) {
                            mask.connect(gene, unit);
                        }
                    }
                }
                mask
            })
            .collect();
        let wiring = wire(&masks);
        let mut uniform =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        Layer {
            hidden: uniform(n_cells * n_hidden),
            weights: [0, 1].map(|_| uniform(wiring.n_slots())),
            bias: [0, 1].map(|_| uniform(n_genes)),
            wiring,
        }
    }

    pub fn input<'a>(&'a self, batch: &'a Batch, likelihood: Likelihood) -> DecodeLossInput<'a> {
        let head = |k: usize| Head {
            weights: &self.weights[k],
            bias: &self.bias[k],
            bias_by_segment: false,
        };
        DecodeLossInput {
            hidden: &self.hidden,
            segments: &batch.segments,
            wiring: &self.wiring,
            scale: head(0),
            likelihood,
            dropout: likelihood.has_dropout().then(|| head(1)),
            log_theta: likelihood.has_dispersion().then_some(&batch.log_theta),
            log_library: &batch.log_library,
            counts: &batch.counts,
            statistics: &GeneStatistic::ALL,
        }
    }

    /// Every connection: gene, cell, hidden unit, slot.
    pub fn for_each(&self, batch: &Batch, mut f: impl FnMut(usize, usize, usize, usize)) {
        for segment in &batch.segments {
            for gene in 0..self.wiring.n_genes() {
                let (units, slots) = self.wiring.mask(segment.batch).gene(gene);
                for (&unit, &slot) in std::iter::zip(units, slots) {
                    for cell in segment.rows.clone() {
                        f(gene, cell, usize::from(unit), slot as usize);
                    }
                }
            }
        }
    }

    /// Logits of a head, genes x cells, in double precision.
    pub fn logits(&self, batch: &Batch, k: usize) -> Vec<f64> {
        let n_cells = batch.log_library.len();
        let bias = self.bias[k].iter().map(|&b| f64::from(b));
        let mut logits: Vec<f64> = bias.flat_map(|b| vec![b; n_cells]).collect();
        self.for_each(batch, |gene, cell, unit, slot| {
            let h = f64::from(self.hidden[cell * self.wiring.n_hidden + unit]);
            logits[gene * n_cells + cell] += h * f64::from(self.weights[k][slot]);
        });
        logits
    }
}
