//! The fused pass against the closed form.

use scvae::kernels::{GeneMajorCounts, Likelihood, Workspace};

use crate::close::{assert_all_close, assert_close};
use crate::minibatch::{segments, Batch, Fused, ALL};

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
    batch.assert_gene_sums(&fused.gene_sums, &naive);
    let value = batch.fused(likelihood, false).unwrap();
    assert_eq!(value.loss.to_bits(), fused.loss.to_bits());
    assert!(value.d_scale.is_empty() && value.gene_sums.is_empty());
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
        assert_eq!(first.gene_sums, other.gene_sums);
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
    let (a, b) = (&zinb.gene_sums, wide(&nb.gene_sums));
    assert_all_close(a, &b, 1e-5, 1e-9, "sums over cells");
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
        assert_eq!(used.gene_sums, fresh.gene_sums);
        let value = batch.fused_in(likelihood, false, &mut workspace).unwrap();
        assert_eq!(value.loss, fresh.loss);
        assert_eq!(
            value.d_scale, fresh.d_scale,
            "gradients stay until the next"
        );
    }
}
