//! Several batches: what sets them apart, how cells are drawn, covariates, and batches that come later.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Poisson;
use scvae::counts::{filter, CountMatrix, CountsView};
use scvae::layers::{sparse_centre, wire, ConnectionMask};
use scvae::model::{Anchors, BatchMasks, BatchMeans, Design, Settings, Start, Vae};
use scvae::results::{embed, map_batches, reconstruct, remember, Output, Reconstruction};
use scvae::sampling::{Sampler, Sampling, Streams};
use scvae::training::{align, train, Monitor, Silent};
use scvae::{Error, Stop};

const N_GENES: usize = 200;
const NEVER: Stop = &|| false;

/// Cells with a type and a batch. Types differ in blocks of genes; in batch `b`, genes with `gene % 7 == b` are
/// `exp(effect)` times as high.
struct Simulated {
    matrix: CountMatrix<'static>,
    kind: Vec<usize>,
    batch: Vec<usize>,
}

const EFFECT: f64 = 1.0;

/// `cells` are, for each batch, the numbers of cells of each kind.
fn simulate(cells: &[&[usize]], seed: u64) -> Simulated {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    let (mut kinds, mut batches) = (vec![], vec![]);
    let numbers = cells.iter().enumerate().flat_map(|(batch, of_kinds)| {
        let of_kinds = of_kinds.iter().enumerate();
        of_kinds.map(move |(kind, &n)| (kind, batch, n))
    });
    for (kind, batch, n) in numbers {
        for _ in 0..n {
            for gene in 0..N_GENES {
                let of_kind = if gene / 40 == kind { 8.0 } else { 1.0 };
                let of_batch = if gene % 7 == batch { EFFECT.exp() } else { 1.0 };
                let count: f64 = rng.sample(Poisson::new(0.5 * of_kind * of_batch).unwrap());
                if count > 0.0 {
                    genes.push(gene as u32);
                    values.push(count as f32);
                }
            }
            offsets.push(genes.len());
            kinds.push(kind);
            batches.push(batch);
        }
    }
    Simulated {
        matrix: CountMatrix::from_csr(offsets, genes, values, N_GENES).unwrap(),
        kind: kinds,
        batch: batches,
    }
}

fn settings() -> Settings {
    Settings {
        min_genes: 1,
        n_hidden: 32,
        n_latent: 4,
        max_epochs: Some(40),
        batch_size: 32,
        lr: 3e-3,
        seed: 3,
        ..Settings::default()
    }
}

/// Expected shares of all genes' counts, genes x cells, in the style of levels (covariate, level).
fn rates(
    model: &Vae,
    view: &CountsView,
    batch: &[usize],
    style: &[(usize, usize)],
) -> ndarray::Array2<f64> {
    let genes: Vec<usize> = (0..N_GENES).collect();
    let how = Reconstruction {
        genes: &genes,
        batch,
        style,
        library: Some(1.0),
        output: Output::Rate,
    };
    reconstruct(model, view, &how, NEVER).unwrap()
}

/// How far the differences of two batches are from the truth: root mean square over genes.
fn error_of_offsets(start: &Start, n_batches: usize) -> f64 {
    let squares = start.log_ratios[0].chunks_exact(n_batches).enumerate();
    let squares = squares.map(|(gene, of_gene)| {
        let truth = |b: usize| if gene % 7 == b { EFFECT } else { 0.0 };
        (f64::from(of_gene[0] - of_gene[1]) - (truth(0) - truth(1))).powi(2)
    });
    (squares.sum::<f64>() / N_GENES as f64).sqrt()
}

#[test]
fn matched_cells_tell_batches_from_composition() {
    // Kinds 1 and 2 are in the first batch only.
    let s = simulate(&[&[40, 80, 80, 40], &[60, 0, 0, 60]], 1);
    let view = filter(&s.matrix, 0, 0).unwrap();
    let design = Design::single(2);
    let start = |means, stop| {
        let should_stop = move || stop;
        Start::of(
            &view,
            &s.batch,
            &design,
            means,
            Streams::new(1),
            &should_stop,
        )
    };
    let matched = start(BatchMeans::Matched, false);
    let all = start(BatchMeans::All, false);
    let [matched_error, all_error] = [&matched, &all].map(|s| error_of_offsets(s, 2));
    assert!(matched_error < 0.25, "{matched_error}");
    assert!(
        all_error > 2.0 * matched_error,
        "{all_error} {matched_error}"
    );
    // The encoder's input: genes of the kinds are not taken for the batches' doing.
    let of_kinds = |start: &Start| -> f32 {
        let genes = (40..120).filter(|gene| gene % 7 > 1);
        genes
            .map(|gene| (start.centre[2 * gene] - start.centre[2 * gene + 1]).abs())
            .sum()
    };
    assert!(of_kinds(&matched) < 0.3 * of_kinds(&all));
    // Nothing is matched once the user wants to stop.
    let stopped = start(BatchMeans::Matched, true);
    for (x, y) in stopped.centre.iter().zip(&all.centre) {
        assert!((x - y).abs() < 1e-6);
    }
}

#[test]
fn differences_add_up_to_nothing_and_do_not_depend_on_threads() {
    let s = simulate(&[&[50], &[30, 30], &[9, 40]], 2);
    let view = filter(&s.matrix, 0, 0).unwrap();
    let design = Design::single(3);
    let start = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            Start::of(
                &view,
                &s.batch,
                &design,
                BatchMeans::Matched,
                Streams::new(1),
                &|| false,
            )
        })
    };
    let one = start(1);
    for of_gene in one.centre.chunks_exact(3) {
        assert!(of_gene.iter().sum::<f32>().abs() < 1e-4);
    }
    let three = start(3);
    assert_eq!(one.centre, three.centre);
    assert_eq!(one.log_ratios, three.log_ratios);
}

#[test]
fn covariates_are_told_apart() {
    // The donors are the simulated batches 0 and 2; every other cell has the second chemistry.
    let s = simulate(&[&[60, 60], &[], &[60, 60]], 3);
    let chemistry: Vec<usize> = (0..s.batch.len()).map(|cell| cell % 2).collect();
    let donor: Vec<usize> = s.batch.iter().map(|&b| b / 2).collect();
    let batch: Vec<usize> = donor
        .iter()
        .zip(&chemistry)
        .map(|(d, c)| 2 * d + c)
        .collect();
    let levels = vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]];
    let design = Design::new(vec![2, 2], levels).unwrap();
    let view = filter(&s.matrix, 0, 0).unwrap();
    let start = Start::of(
        &view,
        &batch,
        &design,
        BatchMeans::All,
        Streams::new(1),
        &|| false,
    );
    // The donors differ in the simulated effects, the chemistries in nothing.
    let spread = |of: &[f32]| -> f32 {
        let genes = of
            .chunks_exact(2)
            .enumerate()
            .filter(|(gene, _)| [0, 2].contains(&(gene % 7)));
        let spread = genes.map(|(_, of_gene)| (of_gene[0] - of_gene[1]).abs());
        spread.sum::<f32>() / 57.0
    };
    assert!((0.8..1.2).contains(&spread(&start.log_ratios[0])));
    assert!(spread(&start.log_ratios[1]) < 0.2);

    let trained = train(&view, &batch, &design, &settings(), &Silent).unwrap();
    let run = |style: &[(usize, usize)]| rates(&trained.model, &view, &batch, style);
    let (own, as_first, same) = (run(&[]), run(&[(0, 0)]), run(&[(0, 0), (1, 0)]));
    let mut ratio = [0.0; 2];
    for cell in 0..view.n_cells() {
        let unchanged = batch[cell] == 0;
        for gene in 0..N_GENES {
            if unchanged {
                assert!((own[[gene, cell]] - same[[gene, cell]]).abs() < 1e-7);
            }
            if donor[cell] == 1 && gene % 7 == 0 {
                ratio[0] += as_first[[gene, cell]];
                ratio[1] += own[[gene, cell]];
            }
        }
    }
    assert!(
        ratio[0] / ratio[1] > 1.8,
        "{ratio:?}: about 2.4 times is true"
    );
}

#[test]
fn designs_that_do_not_fit_are_refused() {
    assert!(Design::new(vec![2], vec![vec![0], vec![2]]).is_err());
    assert!(
        Design::new(vec![2], vec![vec![0]]).is_err(),
        "a level without a batch"
    );
    assert!(Design::new(vec![2, 1], vec![vec![0], vec![1]]).is_err());
    assert!(Design::new(vec![], vec![]).is_err());
    let s = simulate(&[&[10], &[0, 10]], 4);
    let view = filter(&s.matrix, 0, 0).unwrap();
    let design = Design::new(vec![2, 2], vec![vec![0, 0], vec![1, 1]]).unwrap();
    let separate = Settings {
        batch_masks: BatchMasks::Separate,
        ..settings()
    };
    assert!(train(&view, &s.batch, &design, &separate, &Silent).is_err());
}

/// Cells of each batch in the mini-batches of an epoch.
fn drawn(sizes: &[usize], batch_size: usize, sampling: Sampling) -> Vec<Vec<usize>> {
    let mut first = 0;
    let cells = sizes.iter().map(|&n| {
        first += n;
        (first - n..first).collect()
    });
    let mut sampler = Sampler::new(cells.collect(), batch_size, sampling, 0.0, Streams::new(5));
    let epoch = sampler.epoch();
    epoch
        .iter()
        .map(|step| step.iter().map(Vec::len).collect())
        .collect()
}

proptest! {
    #[test]
    fn batches_are_drawn_in_proportion(
        sizes in prop::collection::vec(0usize..60, 1..9),
        batch_size in 2usize..70,
    ) {
        let n: usize = sizes.iter().sum();
        prop_assume!(n > 0);
        for sampling in [Sampling::Replacement, Sampling::Balanced] {
            let present = sizes.iter().filter(|&&size| size > 0).count();
            for step in drawn(&sizes, batch_size, sampling) {
                prop_assert_eq!(step.iter().sum::<usize>(), batch_size.min(n));
                for (&k, &size) in step.iter().zip(&sizes) {
                    let share = match sampling {
                        Sampling::Balanced => f64::from(size > 0) / present as f64,
                        _ => size as f64 / n as f64,
                    };
                    let expected = share * batch_size.min(n) as f64;
                    prop_assert!((k as f64 - expected).abs() < 1.0 + 1e-9);
                }
            }
        }
    }
}

#[test]
fn what_all_cells_of_a_batch_share_goes_through_the_mask() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for n_masks in [1, 3] {
        let masks: Vec<_> = (0..n_masks)
            .map(|_| ConnectionMask::random(70, 9, 3, &mut rng))
            .collect();
        let wiring = std::sync::Arc::new(wire(&masks));
        let mut draw =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (offsets, weights, d_out) = (draw(70 * 3), draw(wiring.n_slots()), draw(3 * 9));
        let tensor = |values: &[f32], shape: (usize, usize)| {
            Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
        };
        let weights = candle_core::Var::from_vec(weights, wiring.n_slots(), &Device::Cpu).unwrap();
        let out = sparse_centre(&tensor(&offsets, (70, 3)), &wiring, &weights).unwrap();
        let loss = (&out * tensor(&d_out, (3, 9))).unwrap().sum_all().unwrap();
        let gradient = loss.backward().unwrap();
        let gradient = gradient.get(&weights).unwrap().to_vec1::<f32>().unwrap();
        let (out, weights) = (
            out.to_vec2::<f32>().unwrap(),
            weights.to_vec1::<f32>().unwrap(),
        );
        let mut expected = vec![vec![0.0; 9]; 3];
        let mut d_weights = vec![0.0; wiring.n_slots()];
        for (b, row) in expected.iter_mut().enumerate() {
            for gene in 0..70 {
                let (units, slots) = wiring.mask(b).gene(gene);
                for (&unit, &slot) in units.iter().zip(slots) {
                    let x = f64::from(offsets[gene * 3 + b]);
                    row[usize::from(unit)] += x * f64::from(weights[slot as usize]);
                    d_weights[slot as usize] += x * f64::from(d_out[b * 9 + usize::from(unit)]);
                }
            }
        }
        for (got, want) in out.concat().iter().zip(expected.concat()) {
            assert!((f64::from(*got) - want).abs() < 1e-5);
        }
        for (&got, want) in gradient.iter().zip(d_weights) {
            assert!((f64::from(got) - want).abs() < 1e-5);
        }
    }
}

/// The view's cells of some batches, with their types and batches.
fn subset<'a>(
    s: &'a Simulated,
    of: impl Fn(usize) -> bool,
) -> (CountsView<'a>, Vec<usize>, Vec<usize>) {
    let cells: Vec<usize> = (0..s.batch.len()).filter(|&c| of(s.batch[c])).collect();
    let positions: Vec<Option<u32>> = (0..N_GENES as u32).map(Some).collect();
    let view = CountsView::new(&s.matrix, cells.clone(), &positions, N_GENES).unwrap();
    let kinds = cells.iter().map(|&c| s.kind[c]).collect();
    (view, kinds, cells.iter().map(|&c| s.batch[c]).collect())
}

/// Counts how often it is asked, and stops from one look on.
struct StopAtLook {
    looks: AtomicUsize,
    last: usize,
}

impl StopAtLook {
    fn at(last: usize) -> Self {
        StopAtLook {
            looks: AtomicUsize::new(0),
            last,
        }
    }
}

impl Monitor for StopAtLook {
    fn should_stop(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed) >= self.last
    }
}

#[test]
fn mapping_stops_whenever_asked() {
    let s = simulate(&[&[60, 60], &[60, 60], &[150, 150]], 7);
    let (view, _, batch) = subset(&s, |b| b < 2);
    let short = Settings {
        max_epochs: Some(1),
        ..settings()
    };
    let mut model = train(&view, &batch, &Design::single(2), &short, &Silent)
        .unwrap()
        .model;
    let embedding = embed(&model, &view, &batch, NEVER).unwrap();
    remember(&mut model, &view, &batch, &embedding).unwrap();
    let (query, _, _) = subset(&s, |b| b == 2);
    let new = vec![0; query.n_cells()];
    let map = |monitor: &StopAtLook| map_batches(&model, &query, &new, 1, &short, monitor);
    let whole = StopAtLook::at(usize::MAX);
    map(&whole).unwrap();
    let looks = whole.looks.into_inner();
    for last in [0, 1, 2, 3, looks / 2, looks - 1] {
        let stopped = map(&StopAtLook::at(last));
        assert!(matches!(stopped, Err(Error::Interrupted)), "{last}");
    }
}

#[test]
fn a_new_batch_finds_its_place_and_moves_nothing() {
    // The new batch lacks kind 1.
    let s = simulate(&[&[60, 60, 60], &[60, 60, 60], &[50, 0, 50]], 7);
    for with_batches in [true, false] {
        let (view, kind, batch) = subset(&s, |b| b < 2);
        let (batch, design) = match with_batches {
            true => (batch, Design::single(2)),
            false => (vec![0; batch.len()], Design::single(1)),
        };
        let mut trained = train(&view, &batch, &design, &settings(), &Silent)
            .unwrap()
            .model;
        let before = embed(&trained, &view, &batch, NEVER).unwrap();
        let (query, query_kind, _) = subset(&s, |b| b == 2);
        let new = vec![0; query.n_cells()];
        let short = Settings {
            max_epochs: Some(20),
            ..settings()
        };
        assert!(
            map_batches(&trained, &query, &new, 1, &short, &Silent).is_err(),
            "nothing is remembered"
        );
        remember(&mut trained, &view, &batch, &before).unwrap();
        let mapped = map_batches(&trained, &query, &new, 1, &short, &Silent)
            .unwrap()
            .model;
        assert_eq!(mapped.n_batches(), design.n_batches() + 1);
        let before = before.mean;
        assert_eq!(before, embed(&mapped, &view, &batch, NEVER).unwrap().mean);
        unchanged(&trained, &mapped);

        let codes = vec![design.n_batches(); query.n_cells()];
        let after = embed(&mapped, &query, &codes, NEVER).unwrap().mean;
        let mut right = 0;
        for (cell, &expected) in query_kind.iter().enumerate() {
            let distance = |other: usize| -> f64 {
                let apart = &after.row(cell) - &before.row(other);
                apart.iter().map(|d| d * d).sum()
            };
            let nearest = (0..view.n_cells()).min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            right += usize::from(kind[nearest.unwrap()] == expected);
        }
        assert!(right >= 97, "{right} of 100 lie with their kind");

        // Its style: the genes that are high in the new batch rise in cells of the first.
        let run = |style: &[(usize, usize)]| rates(&mapped, &view, &batch, style);
        let (own, styled) = (run(&[]), run(&[(0, design.n_batches())]));
        let sum = |of: &ndarray::Array2<f64>| -> f64 {
            (2..N_GENES).step_by(7).map(|gene| of.row(gene).sum()).sum()
        };
        assert!(
            sum(&styled) > 1.8 * sum(&own),
            "{} {}",
            sum(&styled),
            sum(&own)
        );
    }
}

#[test]
fn remembered_cells_are_told_apart_as_new_ones_are() {
    // Cells of one kind, whose latent values say nothing about their counts: of a new cell nobody could tell its group.
    let s = simulate(&[&[200]], 9);
    let view = filter(&s.matrix, 0, 0).unwrap();
    let z: Vec<f32> = (0..200).map(|cell| (cell % 2) as f32).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let anchors = Anchors::of(&view, &s.batch, &z, &[], &mut rng, &Device::Cpu).unwrap();
    let means = anchors.latent.flatten_all().unwrap();
    let variances = anchors.latent_variance.flatten_all().unwrap();
    let values = means.to_vec1::<f32>().unwrap().into_iter();
    for (mean, variance) in values.zip(variances.to_vec1::<f32>().unwrap()) {
        assert!((0.3..0.7).contains(&mean), "a group of mean {mean}");
        assert!(variance > 0.15, "a group of variance {variance}");
    }
}

#[test]
fn a_new_module_gives_groups_their_place_and_spread() {
    let design = Design::single(2);
    let mut model = Vae::new(
        &settings(),
        &design,
        &Start::flat(N_GENES, &design),
        &Device::Cpu,
    )
    .unwrap();
    // Two groups of hidden units, and cells of a third group that is too small to count.
    let n_hidden = model.settings.n_hidden;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let group: Vec<usize> = (0..82)
        .map(|cell| if cell < 80 { cell % 2 } else { 2 })
        .collect();
    let hidden: Vec<f32> = group
        .iter()
        .flat_map(|&k| vec![k as f32; n_hidden])
        .map(|k| k + rng.random_range(0.0..2.0))
        .collect();
    let hidden = Tensor::from_vec(hidden, (group.len(), n_hidden), &Device::Cpu).unwrap();
    let moments = |model: &Vae| {
        let all = std::slice::from_ref(&(0..group.len())).to_vec();
        let module = &model.encoder.batch_modules[0];
        let x = module.forward(&hidden, &all, &[1]).unwrap();
        let z = model.encoder.mean.forward(&x).unwrap();
        let z = z.to_vec2::<f32>().unwrap();
        let column = |k: usize, d: usize| -> Vec<f64> {
            let own = (0..80).filter(|&cell| group[cell] == k);
            own.map(|cell| f64::from(z[cell][d])).collect()
        };
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let of_group = |k: usize, d: usize| {
            let x = column(k, d);
            let squares: f64 = x.iter().map(|x| x.powi(2)).sum();
            (mean(&x), squares - x.len() as f64 * mean(&x).powi(2))
        };
        (0..z[0].len())
            .map(|d| {
                let [(m0, s0), (m1, s1)] = [of_group(0, d), of_group(1, d)];
                ([m0, m1], ((s0 + s1) / 78.0).sqrt())
            })
            .collect::<Vec<_>>()
    };
    let before = moments(&model);
    let n_latent = before.len();
    let rows = |of: &dyn Fn(usize, usize) -> f64| {
        let values = (0..3).flat_map(|k| (0..n_latent).map(move |d| (k, d)));
        let values: Vec<f32> = values.map(|(k, d)| of(k, d) as f32).collect();
        Tensor::from_vec(values, (3, n_latent), &Device::Cpu).unwrap()
    };
    let apart = |d: usize| before[d].1 * [0.5, -0.5][d % 2];
    model.anchors.latent = rows(&|k, d| before[d].0[k.min(1)] + apart(d));
    model.anchors.latent_variance = rows(&|_, d| (1.5 * before[d].1).powi(2));
    let values = |of: &Tensor| of.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let other = values(&model.encoder.batch_modules[0].sub_modules[0].weight);
    align(&model, &hidden, &group, 1, &Silent).unwrap();
    for (d, (now, before)) in moments(&model).iter().zip(&before).enumerate() {
        let unit = before.1;
        for k in 0..2 {
            let moved = (now.0[k] - before.0[k]) / apart(d);
            assert!(
                (moved - 1.0).abs() < 0.15,
                "group {k}, {d}: {moved} of the way"
            );
        }
        let wider = now.1 / unit;
        assert!((wider - 1.5).abs() < 0.1, "{d}: {wider} times as wide");
    }
    let kept = &model.encoder.batch_modules[0].sub_modules[0];
    assert_eq!(values(&kept.weight), other);
}

/// All that both models have is the same, to the last bit.
fn unchanged(before: &Vae, after: &Vae) {
    let after: HashMap<String, Tensor> = after.tensors().unwrap().into_iter().collect();
    for (name, tensor) in before.tensors().unwrap() {
        let mut now = after[&name].clone();
        if now.dims() != tensor.dims() {
            now = now.narrow(1, 0, tensor.dim(1).unwrap()).unwrap();
        }
        let [old, now] = [tensor, now].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        assert_eq!(old, now, "{name}");
    }
}

#[test]
fn a_model_with_several_covariates_takes_no_new_batch() {
    let design = Design::new(vec![2, 2], vec![vec![0, 0], vec![1, 1]]).unwrap();
    let model = Vae::new(
        &settings(),
        &design,
        &Start::flat(N_GENES, &design),
        &Device::Cpu,
    );
    assert!(model.unwrap().with_new_batches(1).is_err());
}
