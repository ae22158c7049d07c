//! The count distributions: closed form against exact values, the fused pass against the closed form.

use candle_core::{Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::counts::{filter, CountMatrix};
use scvae::kernels::{
    softmax_over_genes, special, Cpu, DecodeLossInput, GeneMajorCounts, Head, Kernels, Segment,
    Wiring, Workspace,
};
use scvae::layers::{wire, ConnectionMask};
use scvae::likelihood::{
    self, negative_binomial, poisson, zero_inflated, HeadTensors, Likelihood, LossTensors,
    Parameters, Target,
};
use scvae::model::{Covariate, Design, SavedModel, Settings, Start, Vae};
use scvae::training::{train, Silent};
use scvae::Result;

/// `|got - want| <= relative * |want| + absolute`.
fn assert_close(got: f64, want: f64, relative: f64, absolute: f64, what: &str) {
    assert!(
        (got - want).abs() <= relative * want.abs() + absolute,
        "{what}: {got:e} instead of {want:e}"
    );
}

fn table(text: &str) -> Vec<Vec<f64>> {
    let rows = text.lines().skip(1);
    rows.map(|l| l.split(',').map(|v| v.parse().unwrap()).collect())
        .collect()
}

#[test]
fn closed_form_matches_exact_values() {
    let rows = table(include_str!("reference/likelihood_exact.csv"));
    assert!(rows.len() > 250);
    for row in rows {
        let [x, a, p, t] = row[..4] else {
            unreachable!()
        };
        let nb = negative_binomial(x, a, t);
        let zinb = zero_inflated(x, a, p, t);
        // Counts and means of 1e5 leave rounding of that size in a derivative that may itself be about one.
        let rounding = 1e-15 * (x + a.exp());
        let got = [
            (nb.value, 0.0, "nb"),
            (nb.d_log_mu, rounding, "nb d_log_mu"),
            (nb.d_log_theta, rounding, "nb d_log_theta"),
            (zinb.value, 0.0, "zinb"),
            (zinb.d_log_mu, rounding, "zinb d_log_mu"),
            (zinb.d_dropout, 0.0, "zinb d_dropout"),
            (zinb.d_log_theta, rounding, "zinb d_log_theta"),
        ];
        for ((got, rounding, name), want) in std::iter::zip(got, &row[4..]) {
            let absolute = if x == 0.0 { 0.0 } else { rounding };
            assert_close(got, *want, 1e-10, absolute, &format!("{name} at {row:?}"));
        }
    }
}

#[test]
fn closed_form_matches_scvi() {
    for row in table(include_str!("reference/likelihood_scvi.csv")) {
        let [x, a, p, t, nb, zinb] = row[..] else {
            unreachable!()
        };
        assert_close(negative_binomial(x, a, t).value, nb, 1e-11, 1e-14, "nb");
        assert_close(zero_inflated(x, a, p, t).value, zinb, 1e-11, 1e-14, "zinb");
    }
}

#[test]
fn probabilities_add_up_to_one() {
    for (a, p, t) in [(0.5, -1.0, 0.3), (3.0, 0.7, 2.0), (-2.0, 4.0, -1.0)] {
        let sum = |f: &dyn Fn(f64) -> f64| (0..3000).map(|x| f(f64::from(x)).exp()).sum::<f64>();
        let nb = sum(&|x| negative_binomial(x, a, t).value);
        let zinb = sum(&|x| zero_inflated(x, a, p, t).value);
        let limit = sum(&|x| poisson(x, a).value);
        assert_close(nb, 1.0, 1e-10, 0.0, "nb");
        assert_close(zinb, 1.0, 1e-10, 0.0, "zinb");
        assert_close(limit, 1.0, 1e-10, 0.0, "poisson");
    }
}

#[test]
fn poisson_matches_its_definition() {
    let mut ln_factorial = 0.0;
    for x in 0..3000 {
        let count = f64::from(x);
        // ln x!, as the sum of the logarithms up to x.
        ln_factorial += count.max(1.0).ln();
        assert_close(
            special::ln_factorial(count),
            ln_factorial,
            1e-13,
            1e-14,
            "ln x!",
        );
        for log_mu in [-20.0f64, -1.0, 0.0, 2.5, 8.0] {
            let got = poisson(count, log_mu);
            let mu = log_mu.exp();
            let rounding = 1e-13 * (count * log_mu.abs() + mu + ln_factorial);
            let want = count * log_mu - mu - ln_factorial;
            assert_close(got.value, want, 0.0, rounding, "value");
            assert_close(
                got.d_log_mu,
                count - mu,
                1e-14,
                1e-15 * (count + mu),
                "d_log_mu",
            );
            assert_eq!((got.d_dropout, got.d_log_theta), (0.0, 0.0));
        }
    }
    // Beyond: Stirling's own series, to its second term (the third is below 1e-17 here).
    let x = 1e6f64;
    let series = (x + 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * x);
    assert_close(special::ln_factorial(x), series, 1e-14, 0.0, "ln x!");
}

#[test]
fn the_negative_binomial_of_a_large_dispersion_is_poisson() {
    for log_mu in [-3.0f64, 0.0, 2.0] {
        for x in 0..40 {
            let nb = negative_binomial(f64::from(x), log_mu, 23.0);
            let limit = poisson(f64::from(x), log_mu);
            assert_close(nb.value, limit.value, 0.0, 1e-6, "value");
            assert_close(nb.d_log_mu, limit.d_log_mu, 0.0, 1e-6, "d_log_mu");
        }
    }
}

#[test]
fn special_functions_match_the_standard_library() {
    for i in -7000..=7000 {
        let x = f64::from(i) * 0.1;
        assert_close(special::exp(x), x.exp(), 1e-15, 0.0, "exp");
        let y = (f64::from(i) * 0.05).exp();
        assert_close(special::ln(y), y.ln(), 1e-15, 1e-17, "ln");
        assert_close(special::ln_1p(y), y.ln_1p(), 1e-15, 0.0, "ln_1p");
        let below = -0.999 / (1.0 + y);
        assert_close(special::ln_1p(below), below.ln_1p(), 2e-15, 0.0, "ln_1p");
    }
    assert!(special::exp(f64::NAN).is_nan() && special::ln(f64::NAN).is_nan());
    assert_eq!(special::exp(-1e4), 0.0);
    assert_eq!(special::exp(1e4), f64::INFINITY);
    assert_close(
        special::logaddexp(-1000.0, -1000.0),
        -1000.0 + 2f64.ln(),
        1e-15,
        0.0,
        "",
    );
    assert_close(
        special::softplus_excess(-30.0),
        (-60f64).exp() / 2.0,
        1e-12,
        0.0,
        "",
    );
}

const ALL: [Likelihood; 3] = [Likelihood::Zinb, Likelihood::Nb, Likelihood::Poisson];

/// Segments of the given batches and sizes.
fn segments(sizes: &[(usize, usize)]) -> Vec<Segment> {
    let mut end = 0;
    let segments = sizes.iter().map(|&(batch, n)| {
        end += n;
        let rows = end - n..end;
        Segment { batch, rows }
    });
    segments.collect()
}

/// A mini-batch with the whole range of means, dispersions and counts.
struct Batch {
    scale: Vec<f32>,
    dropout: Vec<f32>,
    log_theta: Vec<f32>,
    log_library: Vec<f32>,
    counts: GeneMajorCounts,
    segments: Vec<Segment>,
}

impl Batch {
    fn new(n_genes: usize, n_cells: usize, wide: bool, seed: u64) -> Batch {
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
    fn fused(&self, likelihood: Likelihood, gradients: bool) -> Result<Fused> {
        self.fused_in(likelihood, gradients, &mut Workspace::default())
    }

    fn fused_in(
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
        };
        let loss = Cpu.decode_loss(&input, gradients, workspace)?;
        let found = workspace.gradients.clone();
        Ok(Fused {
            loss,
            d_scale: found.scale.weights,
            d_dropout: found.dropout.weights,
            d_log_theta: found.log_theta.unwrap_or_default(),
            squared_error: found.squared_error,
        })
    }

    fn count(&self, g: usize, c: usize) -> f64 {
        let (cells, counts) = self.counts.gene(g);
        let found = cells.iter().position(|&cell| cell as usize == c);
        found.map_or(0.0, |i| f64::from(counts[i]))
    }

    fn naive(&self, likelihood: Likelihood) -> Naive {
        let scale: Vec<f64> = self.scale.iter().map(|&v| f64::from(v)).collect();
        let dropout: Vec<f64> = self.dropout.iter().map(|&v| f64::from(v)).collect();
        let log_theta: Vec<f64> = self.log_theta.iter().map(|&v| f64::from(v)).collect();
        self.naive_at(likelihood, &scale, &dropout, &log_theta)
    }

    /// Everything the fused pass computes, entry by entry in double precision.
    // Several arrays are walked side by side.
    #[allow(clippy::needless_range_loop)]
    fn naive_at(
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
            squared_error: vec![0.0; n_genes * self.segments.len()],
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
                for (s, segment) in self.segments.iter().enumerate() {
                    if segment.rows.contains(&c) {
                        out.squared_error[s * n_genes + g] += (x - kept * a.exp()).powi(2);
                    }
                }
            }
            for g in 0..n_genes {
                let i = g * n_cells + c;
                out.d_scale[i] -= out.shares[i] * total;
            }
        }
        out
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
struct Fused {
    loss: f64,
    d_scale: Vec<f32>,
    d_dropout: Vec<f32>,
    d_log_theta: Vec<f32>,
    squared_error: Vec<f32>,
}

struct Naive {
    loss: f64,
    d_scale: Vec<f64>,
    d_dropout: Vec<f64>,
    d_log_theta: Vec<f64>,
    squared_error: Vec<f64>,
    shares: Vec<f64>,
    /// Per gene, the sum of the absolute parts of `d_log_theta`, against which its rounding is measured.
    magnitude: Vec<f64>,
}

fn assert_all_close(got: &[f32], want: &[f64], relative: f64, absolute: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&got, &want)) in std::iter::zip(got, want).enumerate() {
        assert_close(
            f64::from(got),
            want,
            relative,
            absolute,
            &format!("{what}[{i}]"),
        );
    }
}

/// The fused pass against the naive one. `d_scale` is a difference of two parts, so its tolerance has an absolute
/// part in proportion to the largest gradient.
fn assert_fused_matches(batch: &Batch, likelihood: Likelihood) {
    let fused = batch.fused(likelihood, true).unwrap();
    let naive = batch.naive(likelihood);
    let largest = naive.d_scale.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
    assert_close(fused.loss, naive.loss, 2e-6, 0.0, "loss");
    assert_all_close(
        &fused.d_scale,
        &naive.d_scale,
        3e-5,
        2e-6 * largest,
        "d_scale",
    );
    if !likelihood.has_dispersion() {
        assert!(fused.d_log_theta.is_empty());
    }
    for (g, (&got, &want)) in std::iter::zip(&fused.d_log_theta, &naive.d_log_theta).enumerate() {
        let rounding = 3e-5 * naive.magnitude[g];
        assert_close(
            f64::from(got),
            want,
            0.0,
            rounding,
            &format!("d_log_theta[{g}]"),
        );
    }
    if likelihood.has_dropout() {
        assert_all_close(&fused.d_dropout, &naive.d_dropout, 3e-5, 0.0, "d_dropout");
    } else {
        assert!(fused.d_dropout.is_empty());
    }
    let (got, want) = (&fused.squared_error, &naive.squared_error);
    assert_all_close(got, want, 1e-4, 1e-12, "squared error");
    let value = batch.fused(likelihood, false).unwrap();
    assert_eq!(value.loss.to_bits(), fused.loss.to_bits());
    assert!(value.d_scale.is_empty() && value.squared_error.is_empty());
}

#[test]
fn fused_pass_matches_closed_form() {
    // Cells below, at and above whole tiles; the last shape has several blocks of genes.
    for (n_genes, n_cells) in [(1, 1), (7, 3), (40, 64), (33, 100), (23, 130), (700, 150)] {
        for wide in [false, true] {
            let batch = Batch::new(n_genes, n_cells, wide, 17 + n_cells as u64);
            for likelihood in ALL {
                assert_fused_matches(&batch, likelihood);
            }
        }
    }
}

#[test]
fn entries_match_closed_form_over_the_whole_range() {
    // One gene takes nearly all of the softmax, the other's mean is then set by its logit; both are checked.
    let mut entries = 0;
    for mean in [1e-8f64, 1e-6, 1e-3, 0.1, 1.0, 30.0, 1e3, 1e5] {
        for theta in [1e-4f64, 1e-2, 1.0, 50.0, 1e4] {
            for count in [0.0f32, 1.0, 2.0, 40.0, 1e5] {
                for logit in [-60.0f32, -4.0, 0.0, 3.0, 30.0] {
                    let batch = Batch {
                        scale: vec![0.0, mean.ln() as f32 - 20.0],
                        dropout: vec![0.5, logit],
                        log_theta: vec![0.0, theta.ln() as f32],
                        log_library: vec![20.0],
                        counts: GeneMajorCounts {
                            n_cells: 1,
                            offsets: if count > 0.0 {
                                vec![0, 0, 1]
                            } else {
                                vec![0, 0, 0]
                            },
                            cells: if count > 0.0 { vec![0] } else { vec![] },
                            counts: if count > 0.0 { vec![count] } else { vec![] },
                        },
                        segments: segments(&[(0, 1)]),
                    };
                    for likelihood in ALL {
                        let fused = batch.fused(likelihood, true).unwrap();
                        let naive = batch.naive(likelihood);
                        let what = format!("{likelihood:?} {mean:e} {theta:e} {count} {logit}");
                        assert!(fused.loss.is_finite(), "{what}");
                        assert_close(fused.loss, naive.loss, 1e-5, 0.0, &what);
                        if likelihood.has_dispersion() {
                            let theta = f64::from(fused.d_log_theta[1]);
                            assert_close(theta, naive.d_log_theta[1], 1e-4, 1e-30, &what);
                        }
                        let all = fused.d_scale.iter().chain(&fused.d_dropout);
                        assert!(
                            all.chain(&fused.d_log_theta).all(|v| v.is_finite()),
                            "{what}"
                        );
                        if likelihood.has_dropout() {
                            assert_all_close(
                                &fused.d_dropout,
                                &naive.d_dropout,
                                2e-5,
                                1e-30,
                                &what,
                            );
                        }
                        entries += 1;
                    }
                }
            }
        }
    }
    assert_eq!(entries, 3000);
}

#[test]
fn gradients_match_finite_differences() {
    let batch = Batch::new(6, 5, false, 3);
    for likelihood in ALL {
        let fused = batch.fused(likelihood, true).unwrap();
        let mut at: [Vec<f64>; 3] = [&batch.scale, &batch.dropout, &batch.log_theta]
            .map(|v| v.iter().map(|&v| f64::from(v)).collect());
        let gradients = [&fused.d_scale, &fused.d_dropout, &fused.d_log_theta];
        let present = [true, likelihood.has_dropout(), likelihood.has_dispersion()];
        let step = 1e-5;
        for (k, gradient) in gradients.into_iter().enumerate() {
            assert_eq!(gradient.len(), if present[k] { at[k].len() } else { 0 });
            for i in 0..gradient.len() {
                let mut loss_at = |by: f64| {
                    at[k][i] += by;
                    let loss = batch.naive_at(likelihood, &at[0], &at[1], &at[2]).loss;
                    at[k][i] -= by;
                    loss
                };
                let slope = (loss_at(step) - loss_at(-step)) / (2.0 * step);
                let got = f64::from(gradient[i]);
                assert_close(got, slope, 1e-5, 1e-6, &format!("{likelihood:?} {k} {i}"));
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let batch = Batch::new(1500, 70, true, 5);
    let results: Vec<Fused> = [1, 2, 4]
        .iter()
        .map(|&n| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(n)
                .build()
                .unwrap();
            pool.install(|| batch.fused(Likelihood::Zinb, true))
                .unwrap()
        })
        .collect();
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for other in &results[1..] {
        let first = &results[0];
        assert_eq!(first.loss.to_bits(), other.loss.to_bits());
        assert_eq!(bits(&first.d_scale), bits(&other.d_scale));
        assert_eq!(bits(&first.d_log_theta), bits(&other.d_log_theta));
        assert_eq!(bits(&first.d_dropout), bits(&other.d_dropout));
        assert_eq!(first.squared_error, other.squared_error);
    }
}

#[test]
fn without_extra_zeros_the_two_forms_agree() {
    let mut batch = Batch::new(50, 20, true, 9);
    batch.dropout.fill(-60.0);
    // Where a zero of the negative binomial is less likely than exp(-60), the extra zeros do count.
    batch.log_theta.iter_mut().for_each(|t| *t = t.min(1.0));
    let zinb = batch.fused(Likelihood::Zinb, true).unwrap();
    let nb = batch.fused(Likelihood::Nb, true).unwrap();
    assert_close(zinb.loss, nb.loss, 1e-6, 0.0, "loss");
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let largest = nb.d_scale.iter().fold(0.0f32, |m, d| m.max(d.abs()));
    let rounding = 1e-6 * f64::from(largest);
    assert_all_close(&zinb.d_scale, &wide(&nb.d_scale), 1e-5, rounding, "d_scale");
    assert_all_close(
        &zinb.d_log_theta,
        &wide(&nb.d_log_theta),
        1e-5,
        1e-6,
        "d_log_theta",
    );
    let (a, b) = (&zinb.squared_error, wide(&nb.squared_error));
    assert_all_close(a, &b, 1e-5, 1e-9, "squared error");
}

#[test]
fn a_workspace_serves_mini_batches_of_any_shape() {
    let (small, large) = (Batch::new(9, 5, false, 1), Batch::new(300, 70, false, 2));
    let mut workspace = Workspace::default();
    let order = [
        (&large, Likelihood::Zinb),
        (&small, Likelihood::Nb),
        (&small, Likelihood::Zinb),
        (&large, Likelihood::Poisson),
        (&large, Likelihood::Nb),
        (&large, Likelihood::Zinb),
    ];
    for (batch, likelihood) in order {
        let used = batch.fused_in(likelihood, true, &mut workspace).unwrap();
        let fresh = batch.fused(likelihood, true).unwrap();
        assert_eq!(used.loss, fresh.loss);
        assert_eq!(used.d_scale, fresh.d_scale);
        assert_eq!(used.d_dropout, fresh.d_dropout);
        assert_eq!(used.d_log_theta, fresh.d_log_theta);
        assert_eq!(used.squared_error, fresh.squared_error);
        let value = batch.fused_in(likelihood, false, &mut workspace).unwrap();
        assert_eq!(value.loss, fresh.loss);
        assert_eq!(
            value.d_scale, fresh.d_scale,
            "gradients stay until the next"
        );
    }
}

/// A decoder's last layer on top of a [`Batch`], whose logits it replaces.
struct Layer {
    wiring: Wiring,
    hidden: Vec<f32>,
    weights: [Vec<f32>; 2],
    bias: [Vec<f32>; 2],
}

impl Layer {
    /// Two masks if there are to be several, about four in ten connections each.
    fn new(batch: &Batch, n_hidden: usize, n_masks: usize, seed: u64) -> Self {
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

    fn input<'a>(&'a self, batch: &'a Batch, likelihood: Likelihood) -> DecodeLossInput<'a> {
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
        }
    }

    /// Every connection: gene, cell, hidden unit, slot.
    fn for_each(&self, batch: &Batch, mut f: impl FnMut(usize, usize, usize, usize)) {
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
    fn logits(&self, batch: &Batch, k: usize) -> Vec<f64> {
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

#[test]
fn the_last_layer_and_the_loss_together_match_the_slow_way() {
    // Within a tile, beyond one, and with tiles that several masks share.
    for (n_genes, n_cells, n_masks) in [
        (5, 4, 1),
        (40, 64, 1),
        (90, 75, 1),
        (90, 75, 3),
        (60, 150, 3),
    ] {
        for likelihood in ALL {
            let batch = Batch::new(n_genes, n_cells, false, 7);
            let layer = Layer::new(&batch, 9, n_masks, 3);
            let mut workspace = Workspace::default();
            let input = layer.input(&batch, likelihood);
            let loss = Cpu.decode_loss(&input, true, &mut workspace).unwrap();
            let value = Cpu.decode_loss(&input, false, &mut Workspace::default());
            assert_eq!(value.unwrap(), loss);
            let found = &workspace.gradients;

            let log_theta: Vec<f64> = batch.log_theta.iter().map(|&t| f64::from(t)).collect();
            let logits = [0, 1].map(|k| layer.logits(&batch, k));
            let naive = batch.naive_at(likelihood, &logits[0], &logits[1], &log_theta);
            assert_close(loss, naive.loss, 2e-6, 0.0, "loss");
            let n_slots = layer.wiring.n_slots();
            let mut d_hidden = vec![0.0; layer.hidden.len()];
            let mut d_weights = [vec![0.0; n_slots], vec![0.0; n_slots]];
            let heads = if likelihood.has_dropout() { 2 } else { 1 };
            let d_logits = [&naive.d_scale, &naive.d_dropout];
            layer.for_each(&batch, |gene, cell, unit, slot| {
                let at = cell * layer.wiring.n_hidden + unit;
                for k in 0..heads {
                    let d = d_logits[k][gene * n_cells + cell];
                    d_hidden[at] += d * f64::from(layer.weights[k][slot]);
                    d_weights[k][slot] += d * f64::from(layer.hidden[at]);
                }
            });
            let close = |got: &[f32], want: &[f64], what: &str| {
                let largest = want.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
                assert_all_close(got, want, 1e-5, 3e-6 * largest, what);
            };
            close(&found.hidden, &d_hidden, "d_hidden");
            assert_eq!(found.log_theta.is_some(), likelihood.has_dispersion());
            if let Some(d_log_theta) = &found.log_theta {
                close(d_log_theta, &naive.d_log_theta, "d_log_theta");
            }
            for (k, head) in [&found.scale, &found.dropout]
                .into_iter()
                .take(heads)
                .enumerate()
            {
                let rows = d_logits[k].chunks_exact(n_cells);
                let d_bias: Vec<f64> = rows.map(|row| row.iter().sum()).collect();
                close(&head.weights, &d_weights[k], "d_weights");
                close(&head.bias, &d_bias, "d_bias");
            }
            let (got, want) = (&found.squared_error, &naive.squared_error);
            assert_all_close(got, want, 1e-4, 1e-9, "squared error");
        }
    }
}

#[test]
fn a_bias_may_differ_from_segment_to_segment() {
    // Within a tile and beyond; the first and the last segment are of one batch, two of a single cell.
    for sizes in [
        vec![(0, 3), (2, 1), (0, 5)],
        vec![(1, 60), (0, 100), (2, 1), (1, 139)],
        vec![(1, 7)],
    ] {
        for n_masks in [1, 3] {
            let n_genes = 50;
            let n_cells = sizes.iter().map(|s| s.1).sum();
            let mut batch = Batch::new(n_genes, n_cells, false, 4);
            batch.segments = segments(&sizes);
            let layer = Layer::new(&batch, 9, n_masks, 3);
            let mut rng = ChaCha8Rng::seed_from_u64(8);
            let bias: Vec<f32> = (0..n_genes * sizes.len())
                .map(|_| rng.random_range(-1.0..1.0))
                .collect();
            let mut logits = [0, 1].map(|k| layer.logits(&batch, k));
            for (s, segment) in batch.segments.iter().enumerate() {
                for gene in 0..n_genes {
                    for cell in segment.rows.clone() {
                        logits[0][gene * n_cells + cell] +=
                            f64::from(bias[s * n_genes + gene]) - f64::from(layer.bias[0][gene]);
                    }
                }
            }
            let scale = Head {
                weights: &layer.weights[0],
                bias: &bias,
                bias_by_segment: true,
            };
            let input = DecodeLossInput {
                scale,
                ..layer.input(&batch, Likelihood::Zinb)
            };
            let mut workspace = Workspace::default();
            let loss = Cpu.decode_loss(&input, true, &mut workspace).unwrap();
            let log_theta: Vec<f64> = batch.log_theta.iter().map(|&t| f64::from(t)).collect();
            let naive = batch.naive_at(Likelihood::Zinb, &logits[0], &logits[1], &log_theta);
            assert_close(loss, naive.loss, 2e-6, 0.0, "loss");
            let d_bias: Vec<f64> = (batch.segments.iter())
                .flat_map(|s| {
                    let rows = naive.d_scale.chunks_exact(n_cells);
                    rows.map(|row| row[s.rows.clone()].iter().sum())
                })
                .collect();
            let largest = d_bias.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
            let found = &workspace.gradients;
            assert_all_close(&found.scale.bias, &d_bias, 1e-5, 3e-6 * largest, "d_bias");
            assert_eq!(found.dropout.bias.len(), n_genes);
            let (got, want) = (&found.squared_error, &naive.squared_error);
            assert_all_close(got, want, 1e-4, 1e-9, "squared error");
            let out = Cpu.decode(
                &layer.hidden,
                &batch.segments,
                &layer.wiring,
                &layer.weights[0],
                &bias,
            );
            assert_all_close(&out, &logits[0], 1e-5, 1e-5, "decoded");
        }
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let batch = Batch::new(4, 6, false, 1);
    let layer = Layer::new(&batch, 3, 1, 1);
    let good = layer.input(&batch, Likelihood::Zinb);
    // With a mask for each batch a segment's batch must have one.
    let of_batches = Layer::new(&batch, 3, 3, 1);
    let unknown = segments(&[(0, 2), (3, 4)]);
    let mut beyond = batch.counts.clone();
    beyond.cells[0] = 6;
    let mut gap = segments(&[(0, 2), (1, 4)]);
    gap[1].rows.start = 3;
    let too_long = segments(&[(0, 2), (1, 5)]);
    let short = segments(&[(0, 2), (1, 3)]);
    let empty = segments(&[(0, 2), (1, 0), (2, 4)]);
    let (weights, bias) = (&layer.weights[0][1..], &layer.bias[0][1..]);
    let broken = [
        DecodeLossInput {
            hidden: &layer.hidden[1..],
            ..good
        },
        DecodeLossInput {
            scale: Head {
                weights,
                ..good.scale
            },
            ..good
        },
        DecodeLossInput {
            scale: Head { bias, ..good.scale },
            ..good
        },
        DecodeLossInput {
            dropout: Some(Head {
                weights,
                ..good.scale
            }),
            ..good
        },
        DecodeLossInput {
            log_theta: Some(&batch.log_theta[1..]),
            ..good
        },
        // What a distribution has must be there, what it does not have must not.
        DecodeLossInput {
            log_theta: None,
            ..good
        },
        DecodeLossInput {
            dropout: None,
            ..good
        },
        DecodeLossInput {
            likelihood: Likelihood::Nb,
            ..good
        },
        DecodeLossInput {
            likelihood: Likelihood::Poisson,
            dropout: None,
            ..good
        },
        DecodeLossInput {
            log_library: &batch.log_library[1..],
            ..good
        },
        DecodeLossInput {
            counts: &beyond,
            ..good
        },
        DecodeLossInput {
            segments: &gap,
            ..good
        },
        DecodeLossInput {
            segments: &too_long,
            ..good
        },
        DecodeLossInput {
            segments: &short,
            ..good
        },
        DecodeLossInput {
            segments: &empty,
            ..good
        },
        DecodeLossInput {
            scale: Head {
                bias_by_segment: true,
                ..good.scale
            },
            ..good
        },
        DecodeLossInput {
            segments: &unknown,
            wiring: &of_batches.wiring,
            ..of_batches.input(&batch, Likelihood::Zinb)
        },
    ];
    let run = |input: &DecodeLossInput| Cpu.decode_loss(input, true, &mut Workspace::default());
    assert!(run(&good).is_ok());
    for input in broken {
        assert_eq!(run(&input).unwrap_err().class(), "scvae_error_argument");
    }
    assert!(softmax_over_genes(&batch.scale, 7).is_err());
}

#[test]
fn numbers_that_are_none_show_in_the_loss() {
    let mut batch = Batch::new(4, 6, false, 1);
    batch.scale[3] = f32::NAN;
    for likelihood in ALL {
        assert!(batch.fused(likelihood, true).unwrap().loss.is_nan());
    }
    let mut batch = Batch::new(4, 6, false, 1);
    batch.dropout[3] = f32::NAN;
    assert!(batch.fused(Likelihood::Zinb, true).unwrap().loss.is_nan());
    let mut batch = Batch::new(4, 6, false, 1);
    batch.log_theta[3] = f32::NAN;
    assert!(batch.fused(Likelihood::Nb, true).unwrap().loss.is_nan());
}

#[test]
fn shares_are_a_softmax_over_genes() {
    let batch = Batch::new(600, 80, true, 4);
    let shares = softmax_over_genes(&batch.scale, 80).unwrap();
    assert_all_close(
        &shares,
        &batch.naive(Likelihood::Nb).shares,
        5e-6,
        0.0,
        "shares",
    );
    let logits = Tensor::from_slice(&batch.scale, (600, 80), &Device::Cpu).unwrap();
    let tensor = likelihood::px_scale(&logits).unwrap();
    assert_eq!(tensor.dims(), [600, 80]);
    assert_eq!(
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        shares
    );
}

#[test]
fn operation_propagates_the_kernels_gradients() {
    let batch = Batch::new(30, 12, false, 8);
    let layer = Layer::new(&batch, 6, 1, 2);
    let tensor = |v: &[f32]| Tensor::from_slice(v, v.len(), &Device::Cpu).unwrap();
    let weights = layer.weights.each_ref().map(|w| tensor(w));
    let bias = layer.bias.each_ref().map(|b| tensor(b));
    let log_theta = tensor(&batch.log_theta);
    let head = |k: usize| HeadTensors {
        weights: &weights[k],
        bias: &bias[k],
    };
    // Stored the other way round: the operation must cope with any order.
    let hidden = tensor(&layer.hidden)
        .reshape((12, 6))
        .unwrap()
        .t()
        .unwrap()
        .contiguous();
    let hidden = Var::from_tensor(&hidden.unwrap()).unwrap();
    let target = Target {
        counts: &batch.counts,
        log_library: &batch.log_library,
        segments: &batch.segments,
    };
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for likelihood in ALL {
        let mut kernel = Workspace::default();
        let input = layer.input(&batch, likelihood);
        let expected = Cpu.decode_loss(&input, true, &mut kernel).unwrap() as f32;
        let parameters = LossTensors {
            scale: head(0),
            likelihood,
            dropout: likelihood.has_dropout().then(|| head(1)),
            log_theta: likelihood.has_dispersion().then_some(&log_theta),
        };
        let mut workspace = Workspace::default();
        let mut run = |hidden: &Tensor, target: Target, gradients: bool| {
            let wiring = &layer.wiring;
            likelihood::decode_loss(
                hidden,
                parameters,
                wiring,
                target,
                gradients,
                &mut workspace,
            )
        };
        let loss = run(&hidden.t().unwrap(), target, true).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), expected);
        for factor in [1.0f32, 0.25] {
            let gradients = (&loss * f64::from(factor)).unwrap().backward().unwrap();
            let found = values(&gradients.get(&hidden).unwrap().t().unwrap());
            let times: Vec<f32> = kernel.gradients.hidden.iter().map(|v| v * factor).collect();
            assert_eq!(found, times);
        }
        let value = run(&hidden.t().unwrap(), target, false).unwrap();
        assert_eq!(value.to_scalar::<f32>().unwrap(), expected);
        let short = Target {
            log_library: &[0.0],
            ..target
        };
        for refused in [
            run(&hidden, target, true),
            run(&hidden.t().unwrap(), short, true),
        ] {
            assert_eq!(refused.unwrap_err().class(), "scvae_error_argument");
        }
        assert_eq!(workspace.gradients, kernel.gradients);
    }
}

#[test]
fn a_model_s_settings_name_its_likelihood_as_the_analyst_does() {
    for (name, likelihood, has_dropout, has_dispersion) in [
        ("zinb", Likelihood::Zinb, true, true),
        ("nb", Likelihood::Nb, false, true),
        ("poisson", Likelihood::Poisson, false, false),
    ] {
        let settings: Settings =
            serde_json::from_str(&format!(r#"{{"likelihood":"{name}"}}"#)).unwrap();
        assert_eq!(settings.likelihood, likelihood);
        let written = serde_json::to_value(&settings).unwrap();
        assert_eq!(written["likelihood"], name);
        // And the name stands for what it says: the model has the parameters of that distribution, no others.
        let design = Design::single(1);
        let start = Start::flat(5, &design);
        let model = Vae::new(&settings, &design, &start, &Device::Cpu).unwrap();
        let names: Vec<String> = model.parameters().into_iter().map(|p| p.0).collect();
        let has = |part: &str| names.iter().any(|name| name.starts_with(part));
        assert!(has("decoder.scale"));
        assert_eq!(has("decoder.dropout"), has_dropout, "{name}");
        assert_eq!(has("decoder.log_theta"), has_dispersion, "{name}");
    }
    for unknown in ["ZINB", "Nb", "negative binomial", ""] {
        let json = format!(r#"{{"likelihood":"{unknown}"}}"#);
        assert!(
            serde_json::from_str::<Settings>(&json).is_err(),
            "{unknown}"
        );
    }
}

#[test]
fn a_model_of_poisson_counts_learns_and_is_saved() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (n_cells, n_genes) = (120, 30);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for cell in 0..n_cells {
        for gene in 0..n_genes {
            // Three types of cells, ten genes each.
            let mean = if gene % 3 == cell % 3 { 4.0 } else { 0.3 };
            let count: f64 = rng.sample(rand_distr::Poisson::new(mean).unwrap());
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count as f32);
            }
        }
        offsets.push(genes.len());
    }
    let matrix = CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap();
    let view = filter(&matrix, 0, 0).unwrap();
    let batch: Vec<usize> = (0..view.n_cells()).map(|c| c / 3 % 2).collect();
    let settings = Settings {
        likelihood: Likelihood::Poisson,
        n_hidden: 24,
        n_latent: 3,
        max_epochs: Some(30),
        batch_size: 40,
        lr: 1e-2,
        ..Settings::default()
    };
    let design = Design::single(2);
    let trained = train(&view, &batch, &design, &settings, &Silent).unwrap();
    let losses: Vec<f64> = (trained.history.epochs.iter())
        .map(|epoch| epoch.reconstruction_loss_train)
        .collect();
    assert!(losses[29] < 0.8 * losses[0], "{losses:?}");
    assert!(trained.model.decoder.log_theta.is_none());
    let gene_names = (0..view.n_genes()).map(|g| format!("gene{g}")).collect();
    let batch_names = vec!["a".to_string(), "b".to_string()];
    let saved = SavedModel {
        gene_names,
        covariates: vec![Covariate {
            name: "batch".into(),
            levels: batch_names.clone(),
        }],
        batch_names,
        library: vec![1.0; 2],
        model: trained.model,
        history: trained.history,
    };
    let bytes = saved.to_bytes().unwrap();
    let loaded = SavedModel::from_bytes(&bytes).unwrap();
    assert_eq!(loaded.model.settings.likelihood, Likelihood::Poisson);
    assert_eq!(loaded.to_bytes().unwrap(), bytes);
}
