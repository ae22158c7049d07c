//! Every operation of the backend, on the card and on the processor, whose own are held against closed forms elsewhere.

use candle_core::{Device, Tensor, Var};
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::backend::{
    AdamRule, Backend, CountLoss, CountLossInput, Cpu, HeadProducts, HeadTensors, LinearVars,
    LossTensors, NormRule, NormTensors,
};
use scvae::counts::filter;
use scvae::kernels::{GeneStatistic, Likelihood, Segment};
use scvae::layers::Inheritance;
use scvae::sampling::DropoutDraw;

use crate::card;
use crate::problem::{assert_same, bits, Problem};

/// Problems that fill tiles of 128 cells, parts of genes and blocks of 32 genes, or do not.
fn problems() -> Vec<Problem> {
    vec![
        Problem::new(40, 16, &[9], 1),
        Problem::new(70, 24, &[100, 40, 1, 20], 1),
        Problem::new(33, 16, &[30, 0, 25], 3),
    ]
}

fn there(tensor: &Tensor) -> Tensor {
    tensor.to_device(card().device()).unwrap()
}

#[test]
fn counts_make_the_same_minibatch_wherever_they_are_kept() {
    for problem in problems() {
        let view = filter(&problem.matrix, 0, 0).unwrap();
        let depth = Some(&problem.depth[..]);
        let [resident, fetched] =
            [card().clone(), card().clone().with_counts_of_at_most(0)].map(|card| {
                let counts = card.counts(&view).unwrap();
                let [a, b] = [(); 2].map(|()| card.cells(&view, &counts, &problem.groups, depth));
                // Two are under way at a time, and a third takes the memory of the first.
                let first = card.minibatch(a).unwrap();
                let c = card.cells(&view, &counts, &problem.groups, depth);
                let others = [b, c].map(|cells| card.minibatch(cells).unwrap());
                [first].into_iter().chain(others).collect::<Vec<_>>()
            });
        let brought = card().minibatch(problem.minibatch.clone().into()).unwrap();
        let mut problem = problem;
        let (n_cells, n_hidden) = (problem.n_cells(), problem.wiring.n_hidden);
        let weights = problem.tensor(&[problem.wiring.n_slots()], -1.0, 1.0);
        let bias = problem.tensor(&[n_hidden], -1.0, 1.0);
        let wiring = card().wiring(&problem.wiring).unwrap();
        let encoded = |minibatch| {
            let (weights, bias) = (there(&weights), there(&bias));
            card().encode(minibatch, &wiring, &weights, &bias).unwrap()
        };
        let expected = encoded(&brought).to_device(&Device::Cpu).unwrap();
        assert_eq!(expected.dims(), [n_cells, n_hidden]);
        let first = bits(&encoded(&resident[0]));
        for minibatch in resident.iter().chain(&fetched) {
            let encoded = encoded(minibatch);
            assert_same(&encoded, &expected, 1e-6, "encode");
            assert_eq!(bits(&encoded), first, "the same entries in the same order");
        }
    }
}

#[test]
fn values_follow_connections_that_change() {
    let [old, new] = [16, 24].map(|n_hidden| Problem::new(40, n_hidden, &[9], 1).wiring);
    for (old, new) in [(&old, &new), (&new, &old), (&old, &old)] {
        let inheritance = Inheritance::new(old, new);
        let values: Vec<f32> = (0..2 * old.n_slots()).map(|slot| slot as f32).collect();
        let values = Tensor::from_vec(values, (2, old.n_slots()), &Device::Cpu).unwrap();
        let fresh: Vec<f32> = (0..new.n_slots()).map(|slot| -1.0 - slot as f32).collect();
        let moved = |device: &Device| {
            let moves = inheritance.on(device).unwrap();
            let fresh = &fresh[..moves.n_fresh()];
            match device {
                Device::Cpu => moves.carry(&Cpu, &values, Some(fresh)),
                _ => moves.carry(card(), &there(&values), Some(fresh)),
            }
        };
        let [cpu, found] = [&Device::Cpu, card().device()].map(|device| moved(device).unwrap());
        assert_eq!(found.dims(), [2, new.n_slots()]);
        assert_eq!(bits(&found), bits(&cpu));
    }
}

#[test]
fn first_and_last_layer_are_those_of_the_processor() {
    for mut problem in problems() {
        let (n_slots, n_hidden) = (problem.wiring.n_slots(), problem.wiring.n_hidden);
        let (n_cells, n_genes) = (problem.n_cells(), problem.wiring.n_genes());
        let n_segments = problem.segments().len();
        let weights = problem.tensor(&[n_slots], -1.0, 1.0);
        let bias = problem.tensor(&[n_hidden], -1.0, 1.0);
        let d_out = problem.tensor(&[n_cells, n_hidden], -1.0, 1.0);
        let shift = problem.tensor(&[n_segments, n_genes], 0.0, 1.0);
        let d_shift = problem.tensor(&[n_segments, n_hidden], -1.0, 1.0);
        let wiring = card().wiring(&problem.wiring).unwrap();
        let on_card = card().minibatch(problem.minibatch.clone().into()).unwrap();
        let batches: Vec<usize> = problem.segments().iter().map(|s| s.batch).collect();
        let m = &problem.minibatch;

        let cpu = Cpu.encode(m, &problem.wiring, &weights, &bias).unwrap();
        let out = card().encode(&on_card, &wiring, &there(&weights), &there(&bias));
        assert_same(&out.unwrap(), &cpu, 1e-5, "encode");
        let cpu = Cpu.encode_backward(m, &problem.wiring, &d_out).unwrap();
        let out = card().encode_backward(&on_card, &wiring, &there(&d_out));
        assert_same(&out.unwrap(), &cpu, 1e-5, "encode_backward");
        let cpu = Cpu
            .shift(&shift, &batches, &problem.wiring, &weights)
            .unwrap();
        let out = card().shift(&there(&shift), &batches, &wiring, &there(&weights));
        assert_same(&out.unwrap(), &cpu, 1e-5, "shift");
        let cpu = Cpu
            .shift_backward(&shift, &batches, &problem.wiring, &d_shift)
            .unwrap();
        let out = card().shift_backward(&there(&shift), &batches, &wiring, &there(&d_shift));
        assert_same(&out.unwrap(), &cpu, 1e-5, "shift_backward");

        for (products, bias_shape) in [
            (HeadProducts::Dense, vec![n_genes]),
            (HeadProducts::Dense, vec![n_segments, n_genes]),
            (HeadProducts::Sparse, vec![n_segments, n_genes]),
        ] {
            let bias = problem.tensor(&bias_shape, -1.0, 1.0);
            let segments = problem.minibatch.segments.clone();
            let card = card().clone().with_head_products(products);
            let wiring = card.wiring(&problem.wiring).unwrap();
            let logits = Cpu
                .decode(&d_out, &segments, &problem.wiring, &weights, &bias)
                .unwrap();
            let out = card
                .decode(
                    &there(&d_out),
                    &segments,
                    &wiring,
                    &there(&weights),
                    &there(&bias),
                )
                .unwrap();
            assert_same(&out, &logits, 1e-5, "decode");
            let shares = card.px_scale(&there(&logits)).unwrap();
            assert_same(&shares, &Cpu.px_scale(&logits).unwrap(), 1e-5, "px_scale");
            let center = problem.tensor(&[n_genes, 1], 0.0, 5.0);
            let log = card
                .log_px_scale(&there(&logits), 1e4, &there(&center))
                .unwrap();
            let cpu = Cpu.log_px_scale(&logits, 1e4, &center).unwrap();
            assert_same(&log, &cpu, 1e-5, "log_px_scale");
        }
    }
}

#[test]
fn the_count_loss_is_that_of_the_processor() {
    // The last with more hidden units and genes than lie in shared memory at a time.
    let large = Problem::new(300, 150, &[50, 0, 20], 3);
    let mut all: Vec<_> = problems()
        .into_iter()
        .map(|problem| (problem, HeadProducts::Dense))
        .collect();
    let others = problems().into_iter().chain([large]);
    all.extend(others.map(|problem| (problem, HeadProducts::Sparse)));
    for (mut problem, products) in all {
        let card = card().clone().with_head_products(products);
        let (n_genes, n_segments) = (problem.wiring.n_genes(), problem.segments().len());
        let n_slots = problem.wiring.n_slots();
        let hidden = problem.tensor(&[problem.n_cells(), problem.wiring.n_hidden], 0.0, 1.0);
        let [scale, dropout] = [(); 2].map(|()| problem.tensor(&[n_slots], -1.0, 1.0));
        let scale_bias = problem.tensor(&[n_segments, n_genes], -2.0, 2.0);
        let dropout_bias = problem.tensor(&[n_genes], -3.0, 1.0);
        // Beyond what dispersions are limited to on both sides, too.
        let mut log_theta = problem
            .tensor(&[n_genes], -3.0, 3.0)
            .to_vec1::<f32>()
            .unwrap();
        (log_theta[2], log_theta[3]) = (-70.0, 12.0);
        let log_theta = Tensor::from_vec(log_theta, n_genes, &Device::Cpu).unwrap();
        let wiring = card.wiring(&problem.wiring).unwrap();
        let on_card = card.minibatch(problem.minibatch.clone().into()).unwrap();
        let all = [
            &scale,
            &dropout,
            &scale_bias,
            &dropout_bias,
            &log_theta,
            &hidden,
        ];
        let [scale_, dropout_, scale_bias_, dropout_bias_, log_theta_, hidden_] = all.map(there);
        for likelihood in [Likelihood::Zinb, Likelihood::Nb, Likelihood::Poisson] {
            let head = |weights, bias| HeadTensors { weights, bias };
            let cpu = Cpu.count_loss(
                &CountLossInput {
                    likelihood,
                    minibatch: &problem.minibatch,
                    wiring: &problem.wiring,
                    hidden: &hidden,
                    parameters: LossTensors {
                        scale: head(&scale, &scale_bias),
                        dropout: likelihood
                            .has_dropout()
                            .then_some(head(&dropout, &dropout_bias)),
                        log_theta: likelihood.has_dispersion().then_some(&log_theta),
                    },
                    statistics: &GeneStatistic::ALL,
                },
                true,
                &mut Default::default(),
            );
            let input = CountLossInput {
                likelihood,
                minibatch: &on_card,
                wiring: &wiring,
                hidden: &hidden_,
                parameters: LossTensors {
                    scale: head(&scale_, &scale_bias_),
                    dropout: likelihood
                        .has_dropout()
                        .then_some(head(&dropout_, &dropout_bias_)),
                    log_theta: likelihood.has_dispersion().then_some(&log_theta_),
                },
                statistics: &GeneStatistic::ALL,
            };
            let mut memory = Default::default();
            let found = card.count_loss(&input, true, &mut memory).unwrap();
            let value = card.count_loss(&input, false, &mut memory).unwrap();
            assert!(value.gradients.is_none());
            let again = card.count_loss(&input, true, &mut memory).unwrap();
            let cpu = cpu.unwrap();
            let name = format!("{likelihood:?}, {n_segments} segments, {products:?}");
            assert_same(
                &value.value,
                &cpu.value,
                1e-6,
                &format!("{name}: value alone"),
            );
            for ((what, card), (_, cpu)) in parts(&found).into_iter().zip(parts(&cpu)) {
                assert_same(&card, &cpu, 2e-5, &format!("{name}: {what}"));
            }
            for ((what, first), (_, second)) in parts(&found).into_iter().zip(parts(&again)) {
                assert_eq!(bits(&first), bits(&second), "{name}: {what} a second time");
            }
        }
    }
}

/// All that a loss is made of; statistics one by one, as their sizes differ.
fn parts(loss: &CountLoss) -> Vec<(String, Tensor)> {
    let mut all = vec![("value".to_string(), loss.value.clone())];
    let Some(found) = &loss.gradients else {
        return all;
    };
    let mut add = |what: &str, tensor: &Tensor| all.push((what.into(), tensor.clone()));
    add("hidden", &found.hidden);
    add("scale weights", &found.scale.weights);
    add("scale bias", &found.scale.bias);
    if let Some(dropout) = &found.dropout {
        add("dropout weights", &dropout.weights);
        add("dropout bias", &dropout.bias);
    }
    if let Some(log_theta) = &found.log_theta {
        add("log_theta", log_theta);
    }
    for (k, statistic) in GeneStatistic::ALL.iter().enumerate() {
        add(&format!("{statistic:?}"), &found.gene_sums.get(k).unwrap());
    }
    all
}

#[test]
fn normalisation_and_adam_are_those_of_the_processor() {
    let mut problem = Problem::new(40, 16, &[9], 1);
    let rule = NormRule {
        epsilon: 1e-3,
        momentum: 0.01,
    };
    for (n_cells, n) in [(1, 5), (9, 33), (150, 40)] {
        let x = problem.tensor(&[n_cells, n], -1.0, 3.0);
        let d_out = problem.tensor(&[n_cells, n], -1.0, 1.0);
        let [gamma, beta, mean, variance] = [(); 4].map(|()| problem.tensor(&[n], 0.5, 2.0));
        let run = |place: &dyn Fn(&Tensor) -> Tensor, device: &Device| {
            let [gamma, beta, mean, variance] = [&gamma, &beta, &mean, &variance]
                .map(|t| Var::from_tensor(&t.to_device(device).unwrap()).unwrap());
            let norm = NormTensors {
                gamma: &gamma,
                beta: &beta,
                mean: &mean,
                variance: &variance,
            };
            let (x, d_out) = (place(&x), place(&d_out));
            let (out, statistics, back) = if device.is_cpu() {
                let (out, s) = Cpu.normalise(&x, norm, rule).unwrap();
                let back = Cpu
                    .normalise_backward(&x, &gamma, &s, 1e-3, &d_out)
                    .unwrap();
                (out, s, back)
            } else {
                let (out, s) = card().normalise(&x, norm, rule).unwrap();
                let back = card()
                    .normalise_backward(&x, &gamma, &s, 1e-3, &d_out)
                    .unwrap();
                (out, s, back)
            };
            let [d_x, d_gamma, d_beta] = back;
            let running = [&mean, &variance].map(|v| v.as_tensor().clone());
            let [mean, variance] = running;
            vec![
                out,
                statistics.mean,
                statistics.variance,
                d_x,
                d_gamma,
                d_beta,
                mean,
                variance,
            ]
        };
        let cpu = run(&Tensor::clone, &Device::Cpu);
        let found = run(&there, card().device());
        for (i, (card, cpu)) in found.iter().zip(&cpu).enumerate() {
            assert_same(
                card,
                cpu,
                1e-5,
                &format!("normalisation of {n_cells} cells, {i}"),
            );
        }
    }

    let rule = AdamRule {
        betas: [0.9, 0.999],
        step: 0.01,
        root_correction: 0.03,
        eps: 0.01,
        weight_decay: 0.1,
    };
    for rows in [None, Some(&[4, 1][..])] {
        let parameter = problem.tensor(&[6, 50], -1.0, 1.0);
        let gradient = problem.tensor(&[rows.map_or(6, <[usize]>::len), 50], -1.0, 1.0);
        let moments = problem.tensor(&[2, 6, 50], 0.0, 1.0);
        let copies = [&parameter, &moments].map(there);
        let [parameter_, moments_] = copies;
        for _ in 0..2 {
            Cpu.adam(&parameter, &gradient, rows, &moments, rule)
                .unwrap();
            card()
                .adam(&parameter_, &there(&gradient), rows, &moments_, rule)
                .unwrap();
        }
        assert_same(&parameter_, &parameter, 1e-6, "adam: parameter");
        assert_same(&moments_, &moments, 1e-6, "adam: moments");
    }
    let outside = Some(&[6][..]);
    let [parameter, moments] = [[6, 50], [2, 300]].map(|shape| problem.tensor(&shape, 0.0, 1.0));
    let gradient = problem.tensor(&[1, 50], 0.0, 1.0);
    let refused = card().adam(
        &there(&parameter),
        &there(&gradient),
        outside,
        &there(&moments),
        rule,
    );
    assert!(refused.is_err());
}

#[test]
fn the_modules_of_all_batches_are_those_of_the_processor() {
    // Segments of one row and of several tiles; units that fill their tiles, or do not.
    for (n_cells, n) in [(&[1, 70, 1, 33][..], 40), (&[64], 32), (&[2, 3], 16)] {
        let mut problem = Problem::new(10, n, n_cells, 1);
        let n_rows = problem.n_cells();
        let x = problem.tensor(&[n_rows, n], -1.0, 1.0);
        let layers = n_cells.iter().map(|_| {
            let weight = problem.tensor(&[n, n], -0.5, 0.5);
            [weight, problem.tensor(&[n], -0.5, 0.5)]
        });
        let layers: Vec<[Tensor; 2]> = layers.collect();
        let on_host = corrected(&Cpu, problem.segments(), &x, &layers);
        let on_card = corrected(card(), problem.segments(), &x, &layers);
        assert_same(&on_card, &on_host, 1e-5, &format!("modules of {n_cells:?}"));
        assert!(card()
            .correct(&there(&x), &problem.segments()[1..], &[], 0.3)
            .is_err());
    }
}

/// What modules of weight .3 make of `x`, a layer for each segment.
fn corrected<B: Backend>(
    backend: &B,
    segments: &[Segment],
    x: &Tensor,
    layers: &[[Tensor; 2]],
) -> Tensor {
    let there = |t: &Tensor| t.to_device(backend.device()).unwrap();
    let var = |t: &Tensor| Var::from_tensor(&there(t)).unwrap();
    let vars: Vec<[Var; 2]> = layers.iter().map(|of| of.each_ref().map(var)).collect();
    let of_segments: Vec<LinearVars> = vars
        .iter()
        .map(|[weight, bias]| LinearVars { weight, bias })
        .collect();
    let out = backend.correct(&there(x), segments, &of_segments, 0.3);
    out.unwrap()
}

#[test]
fn dropout_silences_the_units_that_it_silences_on_the_processor() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    rng.set_stream(9 << 32 | 2);
    // Layers that begin anywhere in a block of random numbers; one of them where the number of the block has more than
    // 32 bits.
    for (rate, shape, jump) in [
        (0.2, (3, 7), 0),
        (0.5, (130, 16), 0),
        (0.9, (1, 5), 16 << 33),
        (0.2, (40, 20), 0),
    ] {
        rng.set_word_pos(rng.get_word_pos() + jump);
        let draw = DropoutDraw::new(rate, shape.0 * shape.1, &mut rng);
        let [on_card, on_host] = [
            card().dropout(&draw, &shape.into()).unwrap(),
            Cpu.dropout(&draw, &shape.into()).unwrap(),
        ];
        assert_eq!(bits(&on_card), bits(&on_host), "{rate} {shape:?}");
    }
    let draw = DropoutDraw::new(0.2, 5, &mut rng);
    assert!(card().dropout(&draw, &(2, 3).into()).is_err());
}

#[test]
fn what_does_not_fit_is_refused_before_any_kernel_starts() {
    let mut problem = Problem::new(40, 16, &[9], 1);
    let wiring = card().wiring(&problem.wiring).unwrap();
    let on_card = card().minibatch(problem.minibatch.clone().into()).unwrap();
    let [short, bias] = [[3], [16]].map(|shape| there(&problem.tensor(&shape, 0.0, 1.0)));
    let refused = card().encode(&on_card, &wiring, &short, &bias).unwrap_err();
    assert!(
        refused.to_string().contains("values are needed"),
        "{refused}"
    );
    let other = Problem::new(33, 16, &[9], 1);
    let other = card().wiring(&other.wiring).unwrap();
    assert!(card().encode(&on_card, &other, &short, &bias).is_err());
    let on_host = problem.tensor(&[problem.wiring.n_slots()], 0.0, 1.0);
    let refused = card()
        .encode(&on_card, &wiring, &on_host, &bias)
        .unwrap_err();
    assert!(refused.to_string().contains("another device"), "{refused}");
}
