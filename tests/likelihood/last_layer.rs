//! The decoder's last layer together with the loss, and the backend's form of it.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use pulp::Arch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::backend::{Backend, CountLossInput, Cpu, HeadTensors, LossTensors};
use scvae::kernels::{
    decode, decode_loss, log_softmax_over_genes, softmax_over_genes, DecodeLossInput,
    GeneStatistic, Head, Likelihood, Workspace,
};
use scvae::sampling::MiniBatch;

use crate::close::{assert_all_close, assert_close};
use crate::minibatch::{segments, Batch, Layer, ALL};

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
            let loss = decode_loss(Arch::new(), &input, true, &mut workspace).unwrap();
            let value = decode_loss(Arch::new(), &input, false, &mut Workspace::default());
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
            batch.assert_gene_sums(&found.gene_sums, &naive);
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
            let loss = decode_loss(Arch::new(), &input, true, &mut workspace).unwrap();
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
            batch.assert_gene_sums(&found.gene_sums, &naive);
            let out = decode(
                Arch::new(),
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
    let tensor = Cpu.px_scale(&logits).unwrap();
    assert_eq!(tensor.dims(), [600, 80]);
    assert_eq!(
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        shares
    );
}

#[test]
fn logarithms_of_shares_are_those_of_their_softmax() {
    let batch = Batch::new(600, 80, true, 4);
    let center: Vec<f32> = (0..600).map(|gene| gene as f32 / 100.0).collect();
    let found = log_softmax_over_genes(&batch.scale, 80, 1e4, &center).unwrap();
    for cell in 0..80 {
        let logit = |gene: usize| f64::from(batch.scale[gene * 80 + cell]);
        let total: f64 = (0..600).map(|gene| logit(gene).exp()).sum();
        for gene in 0..600 {
            let expected = (1e4 * logit(gene).exp() / total).ln_1p() - f64::from(center[gene]);
            let apart = (f64::from(found[gene * 80 + cell]) - expected).abs();
            assert!(apart < 1e-5, "gene {gene}, cell {cell}: {apart}");
        }
    }
}

#[test]
fn the_backend_s_loss_is_the_kernel_s() {
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
    let hidden = tensor(&layer.hidden).reshape((12, 6)).unwrap();
    // Stored the other way round: the operation must cope with any order.
    let turned = hidden.t().unwrap().contiguous().unwrap().t().unwrap();
    let minibatch = |log_library: &[f32]| MiniBatch {
        depth: None,
        segments: Arc::new(batch.segments.clone()),
        input: Arc::new(vec![0.0; batch.counts.counts.len()]),
        counts: Arc::new(batch.counts.clone()),
        log_library: Arc::new(log_library.to_vec()),
    };
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for likelihood in ALL {
        let mut kernel = Workspace::default();
        let input = layer.input(&batch, likelihood);
        let expected = decode_loss(Arch::new(), &input, true, &mut kernel).unwrap() as f32;
        let run = |hidden: &Tensor, log_library: &[f32], gradients: bool| {
            let input = CountLossInput {
                likelihood,
                minibatch: &minibatch(log_library),
                wiring: &Arc::new(layer.wiring.clone()),
                hidden,
                parameters: LossTensors {
                    scale: head(0),
                    dropout: likelihood.has_dropout().then(|| head(1)),
                    log_theta: likelihood.has_dispersion().then_some(&log_theta),
                },
                statistics: &GeneStatistic::ALL,
            };
            Cpu.count_loss(&input, gradients, &mut Workspace::default())
        };
        let found = run(&turned, &batch.log_library, true).unwrap();
        assert_eq!(found.value.to_scalar::<f32>().unwrap(), expected);
        let found = found.gradients.unwrap();
        let kernel = kernel.gradients;
        assert_eq!(values(&found.hidden), kernel.hidden);
        assert_eq!(values(&found.scale.weights), kernel.scale.weights);
        assert_eq!(values(&found.scale.bias), kernel.scale.bias);
        assert_eq!(values(&found.gene_sums), kernel.gene_sums);
        let dropout = found.dropout.map(|d| values(&d.weights));
        assert_eq!(dropout.unwrap_or_default(), kernel.dropout.weights);
        assert_eq!(found.log_theta.map(|t| values(&t)), kernel.log_theta);
        let value = run(&hidden, &batch.log_library, false).unwrap();
        assert_eq!(value.value.to_scalar::<f32>().unwrap(), expected);
        assert!(value.gradients.is_none());
        for refused in [
            run(&hidden.narrow(0, 0, 11).unwrap(), &batch.log_library, true),
            run(&hidden, &[0.0], true),
        ] {
            assert_eq!(refused.unwrap_err().class(), "scvae_error_argument");
        }
    }
}
