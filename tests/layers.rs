//! Layers: the mask and its adjustment as properties, every backward pass against finite differences.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scvae::backend::{Backend, Cpu};
use scvae::counts::{filter, CountMatrix};
use scvae::kernels::{GeneStatistic, Segment};
use scvae::layers::{
    adjust, sparse_encode, unwire, wire, Adjustment, AdjustmentRules, AtRandom, BatchModule,
    BatchNorm, BoundedMask, ByNeed, ByWeight, Changes, ConnectionMask, CriterionName, Dense,
    GeneSums, Inheritance, StartingWeights,
};
use scvae::sampling::{chunks, MiniBatch, Streams};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn random_mask(n_genes: usize, n_hidden: usize, seed: u64) -> ConnectionMask {
    let mut rng = rng(seed);
    let mut mask = ConnectionMask::empty(n_genes, n_hidden);
    for gene in 0..n_genes {
        for unit in 0..n_hidden {
            if rng.random::<f64>() < 0.4 {
                mask.connect(gene, unit);
            }
        }
    }
    mask
}

fn uniform(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = rng(seed);
    (0..n).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect()
}

/// Counts of `n_cells` x `n_genes`, about half of them zero.
fn counts(n_cells: usize, n_genes: usize, seed: u64) -> CountMatrix<'static> {
    let mut rng = rng(seed);
    let (mut offsets, mut genes, mut values) = (vec![0], Vec::new(), Vec::new());
    for _ in 0..n_cells {
        for gene in 0..n_genes as u32 {
            if rng.random::<f64>() < 0.5 {
                genes.push(gene);
                values.push(rng.random_range(1..9) as f32);
            }
        }
        offsets.push(genes.len());
    }
    CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap()
}

/// Segments of batches of these sizes.
fn segments(sizes: &[usize]) -> Vec<Segment> {
    let mut end = 0;
    let segments = sizes.iter().enumerate().map(|(batch, n)| {
        end += n;
        let rows = end - n..end;
        Segment { batch, rows }
    });
    segments.filter(|s| !s.rows.is_empty()).collect()
}

/// A mini-batch of two batches, five and four cells.
fn minibatch(n_genes: usize) -> MiniBatch {
    let matrix = counts(9, n_genes, 5);
    let view = filter(&matrix, 0, 0).unwrap();
    MiniBatch::gather(&view, &[vec![0, 2, 4, 6, 8], vec![1, 3, 5, 7]], None)
}

#[test]
fn a_mini_batch_has_segments_of_the_batches_it_holds_only() {
    let matrix = counts(9, 4, 5);
    let view = filter(&matrix, 0, 0).unwrap();
    let groups = [vec![], vec![3, 1], vec![], vec![0], vec![]];
    let m = MiniBatch::gather(&view, &groups, None);
    let segment = |batch, rows| Segment { batch, rows };
    assert_eq!(*m.segments, [segment(1, 0..2), segment(3, 2..3)]);
    let (cells, batch) = ([8, 6, 4, 2], [2, 0, 2, 1]);
    let chunks = chunks(&cells, &batch, 3, 3);
    let groups = vec![vec![6], vec![], vec![8, 4]];
    assert_eq!(chunks[0], (groups, vec![1, 0, 2]));
    assert_eq!(chunks[1], (vec![vec![], vec![2], vec![]], vec![3]));
}

/// Compares the gradient of `loss` with respect to `var` with central differences of step `h`.
fn check_gradient(name: &str, var: &Var, h: f32, loss: &dyn Fn() -> Tensor) {
    let gradient = loss()
        .backward()
        .unwrap()
        .get(var)
        .unwrap_or_else(|| panic!("{name} gets no gradient"))
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let start = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let value = |values: &[f32]| {
        let tensor = Tensor::from_slice(values, var.shape(), &Device::Cpu).unwrap();
        var.set(&tensor).unwrap();
        f64::from(loss().to_scalar::<f32>().unwrap())
    };
    let largest = gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
    assert!(largest > 1e-3, "{name}: the gradient is as good as zero");
    for i in 0..start.len() {
        let mut at = start.clone();
        at[i] = start[i] + h;
        let above = value(&at);
        at[i] = start[i] - h;
        let below = value(&at);
        let difference = (above - below) / f64::from(2.0 * h);
        let error = (difference - f64::from(gradient[i])).abs();
        assert!(
            error < 2e-2 * f64::from(largest) + 1e-3,
            "{name}[{i}]: {} by back-propagation, {difference} by differences",
            gradient[i]
        );
    }
    value(&start);
}

/// A fixed weighted sum, so that every output has a gradient of its own.
fn weigh(x: &Tensor) -> Tensor {
    let weights = uniform(x.elem_count(), 99);
    let weights = Tensor::from_vec(weights, x.shape(), &Device::Cpu).unwrap();
    (x * weights).unwrap().sum_all().unwrap()
}

fn var(n: impl Into<candle_core::Shape>, seed: u64) -> Var {
    let shape = n.into();
    Var::from_vec(uniform(shape.elem_count(), seed), shape, &Device::Cpu).unwrap()
}

#[test]
fn sparse_layers_equal_dense_masked_ones() {
    let (n_genes, n_hidden) = (40, 70);
    let m = minibatch(n_genes);
    let masks = [
        random_mask(n_genes, n_hidden, 1),
        random_mask(n_genes, n_hidden, 2),
    ];
    let wiring = Arc::new(wire(&masks));
    let weights = uniform(wiring.n_slots(), 3);
    let dense = |batch: usize, gene: usize, unit: usize| -> f64 {
        let (units, slots) = wiring.mask(batch).gene(gene);
        units
            .iter()
            .position(|&u| usize::from(u) == unit)
            .map_or(0.0, |i| f64::from(weights[slots[i] as usize]))
    };
    let w = Tensor::from_vec(weights.clone(), wiring.n_slots(), &Device::Cpu).unwrap();
    let bias = uniform(n_hidden, 4);
    let b = Tensor::from_vec(bias.clone(), n_hidden, &Device::Cpu).unwrap();
    let input = |row: usize, gene: usize| {
        let entries = m.counts.offsets[gene] as usize..m.counts.offsets[gene + 1] as usize;
        let found = entries.clone().find(|&e| m.counts.cells[e] as usize == row);
        found.map_or(0.0, |e| f64::from(m.input[e]))
    };
    let out = sparse_encode(&Cpu, &m, &wiring, &w, &b)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    for Segment { batch, rows } in m.segments.iter() {
        for row in rows.clone() {
            for unit in 0..n_hidden {
                let sum: f64 = (0..n_genes)
                    .map(|g| input(row, g) * dense(*batch, g, unit))
                    .sum();
                let expected = sum + f64::from(bias[unit]);
                assert!((expected - f64::from(out[row][unit])).abs() < 1e-4);
            }
        }
    }
    let hidden = uniform(9 * n_hidden, 6);
    let h = Tensor::from_vec(hidden.clone(), (9, n_hidden), &Device::Cpu).unwrap();
    let bias = uniform(n_genes, 7);
    let b = Tensor::from_vec(bias.clone(), n_genes, &Device::Cpu).unwrap();
    let out = Cpu
        .decode(&h, &m.segments, &wiring, &w, &b)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    for Segment { batch, rows } in m.segments.iter() {
        for row in rows.clone() {
            for gene in 0..n_genes {
                let sum: f64 = (0..n_hidden)
                    .map(|u| f64::from(hidden[row * n_hidden + u]) * dense(*batch, gene, u))
                    .sum();
                assert!((sum + f64::from(bias[gene]) - f64::from(out[gene][row])).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn gradients_of_the_encoder_s_sparse_layer() {
    let (n_genes, n_hidden) = (12, 10);
    let m = minibatch(n_genes);
    let wiring = Arc::new(wire(&[
        random_mask(n_genes, n_hidden, 1),
        random_mask(n_genes, n_hidden, 2),
    ]));
    let weights = var(wiring.n_slots(), 3);
    let bias = var(n_hidden, 4);
    let encoded = || weigh(&sparse_encode(&Cpu, &m, &wiring, &weights, &bias).unwrap());
    check_gradient("encoder weights", &weights, 0.1, &encoded);
    check_gradient("encoder bias", &bias, 0.1, &encoded);
}

#[test]
fn gradients_of_the_dense_layers() {
    let x = var((9, 5), 1);
    let dense = Dense::new(5, 4, Streams::new(1), 0, &Device::Cpu).unwrap();
    let out = || weigh(&dense.forward(&Cpu, &x).unwrap());
    check_gradient("dense input", &x, 0.1, &out);
    check_gradient("dense weight", &dense.weight, 0.1, &out);
    check_gradient("dense bias", &dense.bias, 0.1, &out);

    let norm = BatchNorm::new(5, &Device::Cpu).unwrap();
    norm.gamma
        .set(&Tensor::new(&[1.5f32, 0.5, 2.0, 1.0, 0.7], &Device::Cpu).unwrap())
        .unwrap();
    // Some values on either side of zero: they are cut off, and their gradients too.
    let beta = Tensor::new(&[4f32, -4.0, 0.05, 4.0, 4.0], &Device::Cpu).unwrap();
    norm.beta.set(&beta).unwrap();
    let factors = Tensor::from_vec(uniform(45, 5), (9, 5), &Device::Cpu).unwrap();
    let out = || weigh(&norm.train(&Cpu, &x, Some(factors.clone())).unwrap());
    check_gradient("norm input", &x, 1e-2, &out);
    check_gradient("norm gamma", &norm.gamma, 1e-2, &out);
    check_gradient("norm beta", &norm.beta, 1e-2, &out);

    let module = BatchModule::new(5, 2, 1.0, Streams::new(2), 0, &Device::Cpu).unwrap();
    let segments = segments(&[5, 4]);
    for layer in &module.sub_modules {
        // Away from zero, where TanhShrink is flat.
        let steep = layer.weight.affine(4.0, 0.3).unwrap();
        layer.weight.set(&steep).unwrap();
    }
    let out = || weigh(&module.forward(&Cpu, &x, &segments, |batch| batch).unwrap());
    check_gradient("batch module input", &x, 1e-2, &out);
    for layer in &module.sub_modules {
        check_gradient("batch module weight", &layer.weight, 1e-2, &out);
        check_gradient("batch module bias", &layer.bias, 1e-2, &out);
    }
}

#[test]
fn batch_module_adds_the_shrunk_output_of_the_batch_s_own_layer() {
    let module = BatchModule::new(3, 2, 0.5, Streams::new(3), 0, &Device::Cpu).unwrap();
    let x = uniform(12, 4).iter().map(|v| v * 5.0).collect::<Vec<f32>>();
    let t = Tensor::from_vec(x.clone(), (4, 3), &Device::Cpu).unwrap();
    let out = module
        .forward(&Cpu, &t, &segments(&[1, 3]), |batch| batch)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    for row in 0..4 {
        let layer = &module.sub_modules[usize::from(row > 0)];
        let weight = layer.weight.to_vec2::<f32>().unwrap();
        let bias = layer.bias.to_vec1::<f32>().unwrap();
        for unit in 0..3 {
            let y: f64 = (0..3)
                .map(|k| f64::from(x[row * 3 + k]) * f64::from(weight[unit][k]))
                .sum::<f64>()
                + f64::from(bias[unit]);
            let expected = f64::from(x[row * 3 + unit]) + 0.5 * (y - y.tanh());
            assert!((expected - f64::from(out[row][unit])).abs() < 1e-5);
        }
    }
}

#[test]
fn batch_norm_uses_scvi_s_constants() {
    let norm = BatchNorm::new(1, &Device::Cpu).unwrap();
    let x = Tensor::new(&[[1f32], [2.0], [6.0]], &Device::Cpu).unwrap();
    let factors = Tensor::new(&[[1f32], [1.0], [0.5]], &Device::Cpu).unwrap();
    let out = norm.train(&Cpu, &x, Some(factors)).unwrap();
    let out = out.to_vec2::<f32>().unwrap();
    let biased = (4.0 + 1.0 + 9.0) / 3.0f64;
    let last = 0.5 * 3.0 / (biased + 1e-3).sqrt();
    assert!((last - f64::from(out[2][0])).abs() < 1e-6);
    assert_eq!(out[0][0], 0.0, "ReLU follows");
    let mean = norm.running_mean.to_vec1::<f32>().unwrap()[0];
    let var = norm.running_var.to_vec1::<f32>().unwrap()[0];
    assert!((mean - 0.03).abs() < 1e-6, "momentum 0.01 times the mean 3");
    assert!(
        (var - (0.99 + 0.01 * 7.0)).abs() < 1e-6,
        "the running variance divides by n - 1"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn adjustment_keeps_bounds_and_total(
        n_genes in 2usize..120,
        n_hidden in 4usize..140,
        alphas in (0.01f64..0.3, 0.0f64..0.3, 0.0f64..0.4),
        shares in (0.0f64..0.5, 0.0f64..0.5, 0.0f64..0.5),
        weight_scale in prop_oneof![Just(1e-7f32), Just(1.0f32)],
        seed in any::<u64>(),
    ) {
        let alpha_init = (alphas.0 + alphas.1).min(0.9);
        let rules = AdjustmentRules {
            alpha_min: alphas.0,
            alpha_init,
            alpha_max: (alpha_init + alphas.2).min(1.0),
            n_al: shares.0,
            n_pl: shares.1,
            n_pw: shares.2,
            q_w: 0.2,
            v_w: 1e-5,
        };
        let mut rng = rng(seed);
        let n_init = rules.n_init(n_hidden);
        let mut mask = ConnectionMask::random(n_genes, n_hidden, n_init, &mut rng);
        for gene in 0..n_genes {
            prop_assert_eq!(mask.n_of_gene(gene), n_init);
        }
        let total = mask.total();
        let share = |x: f64| (x * n_genes as f64).floor() as usize;
        for _ in 0..30 {
            let loss: Vec<f64> = (0..n_genes).map(|_| rng.random()).collect();
            let weights: Vec<f32> = (0..n_genes * n_hidden)
                .map(|_| weight_scale * (rng.random::<f32>() - 0.5))
                .collect();
            let before = mask.clone();
            // Each on its own keeps to its numbers, all together keep the total.
            let weight = |g: usize, u: usize| weights[g * n_hidden + u];
            let by_loss = ByNeed {
                need: &loss,
                n_losing: share(rules.n_pl),
                n_gaining: share(rules.n_al),
            };
            let by_weight = ByWeight {
                weight: &weight,
                quantile: rules.q_w,
                limit: rules.v_w,
                n_losing: share(rules.n_pw),
            };
            let mut done = Changes::default();
            let mut bounded = BoundedMask::new(&mut mask, &rules);
            let changes = by_loss.apply(&mut bounded, done, &mut rng);
            prop_assert!(changes.removed <= share(rules.n_pl));
            prop_assert!(changes.added <= share(rules.n_al));
            done += changes;
            let changes = by_weight.apply(&mut bounded, done, &mut rng);
            prop_assert!(changes.removed <= share(rules.n_pw) && changes.added == 0);
            done += changes;
            done += AtRandom.apply(&mut bounded, done, &mut rng);
            prop_assert_eq!(done.removed, done.added);
            prop_assert_eq!(mask.total(), total);
            let changed: usize = (0..n_genes)
                .flat_map(|g| (0..n_hidden).map(move |u| (g, u)))
                .filter(|&(g, u)| mask.is_connected(g, u) != before.is_connected(g, u))
                .count();
            prop_assert!(changed <= done.total());
            for gene in 0..n_genes {
                let n = mask.n_of_gene(gene);
                prop_assert!(n >= rules.least(n_hidden) && n <= rules.most(n_hidden));
            }
        }
    }

    #[test]
    fn wiring_holds_exactly_the_masks(
        n_genes in 1usize..40,
        n_hidden in 1usize..140,
        n_masks in 1usize..5,
        seed in any::<u64>(),
    ) {
        let masks: Vec<_> = (0..n_masks as u64)
            .map(|b| random_mask(n_genes, n_hidden, seed.wrapping_add(b)))
            .collect();
        let wiring = wire(&masks);
        prop_assert_eq!(&unwire(&wiring), &masks);
        // Each mask's weight stands where gene and unit say: encoder and decoder read the same list, so the decoder's
        // mask is the encoder's transposed.
        for (mask, list) in masks.iter().zip(&wiring.masks) {
            for gene in 0..n_genes {
                let (units, slots) = list.gene(gene);
                prop_assert_eq!(units.iter().map(|&u| usize::from(u)).collect::<Vec<_>>(), mask.units(gene).collect::<Vec<_>>());
                for (&unit, &slot) in units.iter().zip(slots) {
                    prop_assert_eq!(wiring.hidden[slot as usize], unit);
                    prop_assert!((wiring.offsets[gene]..wiring.offsets[gene + 1]).contains(&slot));
                }
            }
        }
    }

    #[test]
    fn rewiring_keeps_weights_that_stay_and_starts_others_where_they_would_have_started(
        n_genes in 1usize..30,
        n_hidden in 1usize..100,
        seed in any::<u64>(),
    ) {
        let start = StartingWeights { streams: Streams::new(seed), layer: 1, bound: 0.3 };
        let old = wire(&[random_mask(n_genes, n_hidden, seed)]);
        let new = wire(&[random_mask(n_genes, n_hidden, seed ^ 7), random_mask(n_genes, n_hidden, seed ^ 9)]);
        let mut full = ConnectionMask::empty(n_genes, n_hidden);
        for gene in 0..n_genes {
            for unit in 0..n_hidden {
                full.connect(gene, unit);
            }
        }
        let dense = start.all(&wire(&[full]));
        let trained: Vec<f32> = (0..old.n_slots()).map(|s| 10.0 + s as f32).collect();
        let inheritance = Inheritance::new(&old, &new);
        let trained_tensor = Tensor::new(&trained[..], &Device::Cpu).unwrap();
        let moves = inheritance.on(&Device::Cpu).unwrap();
        let fresh = start.fresh(&inheritance, &new);
        let weights = moves.carry(&Cpu, &trained_tensor, Some(&fresh)).unwrap().to_vec1::<f32>().unwrap();
        let both = Tensor::stack(&[&trained_tensor, &trained_tensor], 0).unwrap();
        let of_zeros = moves.carry(&Cpu, &both, None).unwrap().to_vec2::<f32>().unwrap();
        prop_assert_eq!(&of_zeros[0], &of_zeros[1]);
        for gene in 0..n_genes {
            for slot in new.offsets[gene] as usize..new.offsets[gene + 1] as usize {
                let (unit, weight) = (usize::from(new.hidden[slot]), weights[slot]);
                let was = (old.offsets[gene] as usize..old.offsets[gene + 1] as usize)
                    .find(|&s| usize::from(old.hidden[s]) == unit);
                let expected = was.map_or(dense[gene * n_hidden + unit], |s| trained[s]);
                prop_assert_eq!(weight, expected);
                prop_assert!(was.is_some() || weight.abs() <= 0.3);
                prop_assert_eq!(of_zeros[0][slot], was.map_or(0.0, |s| trained[s]));
            }
        }
    }
}

#[test]
fn adjustment_moves_connections_from_well_to_badly_reconstructed_genes() {
    let (n_genes, n_hidden) = (200, 128);
    let rules = AdjustmentRules::default();
    let mut rng = rng(1);
    let mut mask = ConnectionMask::random(n_genes, n_hidden, rules.n_init(n_hidden), &mut rng);
    let loss: Vec<f64> = (0..n_genes).map(|g| g as f64).collect();
    for _ in 0..60 {
        adjust(&mut mask, &loss, &|_, _| 1.0, &rules, &mut rng);
    }
    assert_eq!(
        mask.n_of_gene(n_genes - 1),
        64,
        "the worst gene is saturated"
    );
    assert_eq!(mask.n_of_gene(0), 7, "the best gene is at its floor");
    assert_eq!(mask.total(), n_genes * 25);
}

#[test]
fn only_small_weights_are_pruned_and_one_per_gene() {
    let (n_genes, n_hidden) = (100, 20);
    let rules = AdjustmentRules {
        n_al: 0.0,
        n_pl: 0.0,
        n_pw: 0.1,
        q_w: 0.5,
        ..AdjustmentRules::default()
    };
    let loss = vec![0.0; n_genes];
    let fresh = || ConnectionMask::random(n_genes, n_hidden, 4, &mut rng(1));
    let mut mask = fresh();
    let done = adjust(&mut mask, &loss, &|_, _| 2e-5, &rules, &mut rng(2));
    assert_eq!(done.total(), 0, "no weight lies below v_w");
    let small = |gene: usize, _: usize| if gene < 30 { 1e-7 } else { 1.0 };
    let done = adjust(&mut mask, &loss, &small, &rules, &mut rng(2));
    assert_eq!(done.removed, 10, "n_pw genes lose one connection");
    assert_eq!(done.added, 10);
    let few_small = |gene: usize, _: usize| if gene < 3 { 1e-7 } else { 1.0 };
    let mut mask = fresh();
    let rules = AdjustmentRules { q_w: 0.1, ..rules };
    let done = adjust(&mut mask, &loss, &few_small, &rules, &mut rng(2));
    assert_eq!(done.removed, 3);
}

/// Two genes, three cells in one batch of equal libraries: the first gene's rate is that of its counts, the second's is
/// the same for all cells.
#[test]
fn criteria_are_what_they_say() {
    let (counts, shares) = (
        [[6.0, 0.0, 3.0], [4.0, 10.0, 7.0f64]],
        [[0.6, 0.1, 0.3], [0.7; 3]],
    );
    let library = 10.0;
    let theta = [2.0f64, 5.0];
    let each = |gene: usize, f: &dyn Fn(f64, f64) -> f64| -> f64 {
        let cells = counts[gene].iter().zip(&shares[gene]);
        cells.map(|(&x, &share)| f(x, share)).sum()
    };
    let sum_of = |statistic: GeneStatistic, gene: usize| {
        let mean_share = shares[gene].iter().sum::<f64>() / 3.0;
        each(gene, &|x, share| match statistic {
            GeneStatistic::SquaredError => (x - library * share).powi(2),
            GeneStatistic::LogSquaredError => (x.ln_1p() - (library * share).ln_1p()).powi(2),
            GeneStatistic::Expected | GeneStatistic::Rate => library * share,
            GeneStatistic::SquaredExpected => (library * share).powi(2),
            GeneStatistic::Count => x,
            GeneStatistic::LogShare => x * share.ln(),
            GeneStatistic::Share => share,
            GeneStatistic::ShareVariation => (share - mean_share).powi(2),
        })
    };
    let log_theta = theta.map(|t| t.ln() as f32);
    let share_of_batch = |gene: usize| {
        let all: f64 = counts.iter().flatten().sum();
        counts[gene].iter().sum::<f64>() / all
    };
    let need = |name: CriterionName| {
        let criterion = name.criterion();
        let statistics = criterion.statistics();
        let asked_for = |s: GeneStatistic, gene: usize| match s {
            GeneStatistic::LogShare if criterion.beyond_batch() => {
                each(gene, &|x, share| x * (share / share_of_batch(gene)).ln())
            }
            s => sum_of(s, gene),
        };
        let values = statistics
            .iter()
            .flat_map(|&s| [asked_for(s, 0), asked_for(s, 1)]);
        criterion.need(&GeneSums {
            statistics,
            values: &values.collect::<Vec<f64>>(),
            n_cells: 3.0,
            log_theta: Some(&log_theta),
        })
    };
    // Poisson deviance of a gene's counts from their expectations, halved.
    let deviance = |gene: usize, share_of: &dyn Fn(f64) -> f64| {
        each(gene, &|x, share| {
            let mean = library * share_of(share);
            let log = if x > 0.0 { x * (x / mean).ln() } else { 0.0 };
            log - (x - mean)
        })
    };
    let expected = |gene: usize, name: CriterionName| match name {
        CriterionName::Mse => each(gene, &|x, s| (x - library * s).powi(2)) / 3.0,
        CriterionName::LogMse => {
            each(gene, &|x, s| (x.ln_1p() - (library * s).ln_1p()).powi(2)) / 3.0
        }
        CriterionName::RelativeMse => {
            let variance = |m: f64| m + m * m / theta[gene];
            each(gene, &|x, s| (x - library * s).powi(2))
                / each(gene, &|_, s| variance(library * s))
        }
        CriterionName::Dispersion => {
            let mean = each(gene, &|_, s| s) / 3.0;
            each(gene, &|_, s| (s - mean).powi(2)) / (3.0 * mean)
        }
        CriterionName::Deviance => {
            deviance(gene, &|_| share_of_batch(gene)) - deviance(gene, &|share| share)
        }
    };
    for name in [
        CriterionName::Mse,
        CriterionName::LogMse,
        CriterionName::RelativeMse,
        CriterionName::Dispersion,
        CriterionName::Deviance,
    ] {
        for (gene, found) in need(name).into_iter().enumerate() {
            let expected = expected(gene, name);
            assert!(
                (found - expected).abs() < 1e-6,
                "{name:?} {gene}: {found} {expected}"
            );
        }
    }
    // What the model tells cells apart by, and what it does not.
    for name in [CriterionName::Dispersion, CriterionName::Deviance] {
        assert!(need(name)[0] > need(name)[1] + 1e-3, "{name:?}");
    }
}
