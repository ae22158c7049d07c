//! Batches that come later.

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::counts::{filter, CountsView};
use scvae::kernels::Segment;
use scvae::mapping::{align, map_batches, remember, with_new_batches, CellGroups};
use scvae::model::{Settings, TensorId, Vae};
use scvae::results::{embed, ExpressionSpace};
use scvae::training::Silent;

use crate::simulated::{fit, rates, settings, simulate, Simulated, N_GENES};

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
        let trained = fit(&view, &batch, &design, &settings()).unwrap().model;
        let before = embed(&trained, &view, &batch, &|| false).unwrap();
        let (query, query_kind, _) = subset(&s, |b| b == 2);
        let new = vec![0; query.n_cells()];
        let short = Settings {
            max_epochs: Some(20),
            ..settings()
        };
        let remembered = remember(&trained, &view, &batch, &before, &|| false).unwrap();
        let mapped = map_batches(&trained, &remembered, &query, &new, 1, &short, &Silent)
            .unwrap()
            .model;
        assert_eq!(mapped.n_batches(), design.n_batches() + 1);
        let before = before.mean;
        assert_eq!(
            before,
            embed(&mapped, &view, &batch, &|| false).unwrap().mean
        );
        unchanged(&trained, &mapped);
        let space = ExpressionSpace::find(&trained, &before, &|| false).unwrap();
        let places = |model| space.place(model, &before, &|| false).unwrap();
        assert_eq!(places(&mapped), places(&trained));

        let codes = vec![design.n_batches(); query.n_cells()];
        let after = embed(&mapped, &query, &codes, &|| false).unwrap().mean;
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
    let groups =
        CellGroups::of(&view, &s.batch, &z, &[], &mut rng, &Device::Cpu, &|| false).unwrap();
    let means = groups.latent.flatten_all().unwrap();
    let variances = groups.latent_variance.flatten_all().unwrap();
    let values = means.to_vec1::<f32>().unwrap().into_iter();
    for (mean, variance) in values.zip(variances.to_vec1::<f32>().unwrap()) {
        assert!((0.3..0.7).contains(&mean), "a group of mean {mean}");
        assert!(variance > 0.15, "a group of variance {variance}");
    }
}

#[test]
fn a_new_module_gives_groups_their_place_and_spread() {
    let design = Design::single(2);
    let model = Vae::new(
        &settings(),
        &design,
        &InitialValues::flat(N_GENES, &design),
        &Cpu,
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
        let all = Segment {
            batch: 1,
            rows: 0..group.len(),
        };
        let module = &model.encoder.batch_modules[0];
        let x = module
            .forward(&Cpu, &hidden, &[all], |batch| batch)
            .unwrap();
        let z = model.encoder.mean.forward(&Cpu, &x).unwrap();
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
    let nothing = Tensor::zeros((3, N_GENES), DType::F32, &Device::Cpu).unwrap();
    let remembered = CellGroups {
        profiles: nothing.clone(),
        inputs: nothing,
        latent: rows(&|k, d| before[d].0[k.min(1)] + apart(d)),
        latent_variance: rows(&|_, d| (1.5 * before[d].1).powi(2)),
    };
    let values = |of: &Tensor| of.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let other = values(&model.encoder.batch_modules[0].sub_modules[0].weight);
    align(&model, &remembered, &hidden, &group, 1, &|| false).unwrap();
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
    let after = after.snapshot().unwrap().tensors;
    for (id, tensor) in before.snapshot().unwrap().tensors {
        let mut now = after[&id].clone();
        if matches!(id, TensorId::InputShift | TensorId::ScaleOffsets(_)) {
            now = now.narrow(0, 0, tensor.dim(0).unwrap()).unwrap();
        }
        let [old, now] = [tensor, now].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        assert_eq!(old, now, "{id}");
    }
}

#[test]
fn a_model_with_several_covariates_takes_no_new_batch() {
    let design = Design::new(vec![2, 2], vec![vec![0, 0], vec![1, 1]]).unwrap();
    let model = Vae::new(
        &settings(),
        &design,
        &InitialValues::flat(N_GENES, &design),
        &Cpu,
    );
    assert!(with_new_batches(&model.unwrap(), 1).is_err());
}
