//! Expression space, against the decoder worked out gene by gene in double precision.

use nalgebra::DMatrix;
use ndarray::Array2;
use scvae::backend::Cpu;
use scvae::counts::filter;
use scvae::model::{BatchMasks, Settings, Vae};
use scvae::results::{embed, ExpressionSpace};
use scvae::saved::SavedModel;
use scvae::training::with_threads;
use scvae::Error;

use crate::simulated::{fit, save, settings, simulated};

const N_CELLS: usize = 700;
const N_GENES: usize = 60;

fn learned() -> Settings {
    Settings {
        max_epochs: Some(20),
        lr: 5e-3,
        ..settings()
    }
}

/// A model of simulated cells, in two batches or none, and their latent values.
fn model(s: &Settings, batches: bool) -> (Vae<Cpu>, Array2<f64>) {
    let (matrix, mut batch) = simulated(N_CELLS, N_GENES, 5);
    let view = filter(&matrix, 0, 0).unwrap();
    if !batches {
        batch.fill(0);
    }
    let model = fit(&view, &batch, s).model;
    let z = embed(&model, &view, &batch, &|| false).unwrap().mean;
    (model, z)
}

/// ln(1 + 10,000 px_scale) of cells of no batch, cells x genes.
fn expected(model: &Vae<Cpu>, z: &Array2<f64>) -> DMatrix<f64> {
    let numbers = |t: &candle_core::Tensor| -> Vec<f64> {
        let t = t.to_dtype(candle_core::DType::F64).unwrap();
        t.flatten_all().unwrap().to_vec1().unwrap()
    };
    let d = &model.decoder;
    let (h, n) = (model.settings.n_hidden, model.settings.n_latent);
    let (weight, bias) = (numbers(&d.fc.weight), numbers(&d.fc.bias));
    let [gamma, beta, mean, variance] = [
        &d.norm.gamma,
        &d.norm.beta,
        &d.norm.running_mean,
        &d.norm.running_var,
    ]
    .map(|var| numbers(var));
    let wiring = model.wiring();
    let heads = numbers(&d.scale.weights);
    let mut of_gene = numbers(&d.scale.bias);
    for offsets in &d.offsets {
        let levels = offsets.dims()[0];
        for (i, offset) in numbers(offsets).into_iter().enumerate() {
            of_gene[i % N_GENES] += offset / levels as f64;
        }
    }
    let mut out = DMatrix::zeros(z.nrows(), N_GENES);
    for cell in 0..z.nrows() {
        let hidden: Vec<f64> = (0..h)
            .map(|k| {
                let x: f64 = (0..n).map(|j| weight[k * n + j] * z[[cell, j]]).sum();
                let x = x + bias[k];
                ((x - mean[k]) / (variance[k] + 1e-3).sqrt() * gamma[k] + beta[k]).max(0.0)
            })
            .collect();
        let mut logits = of_gene.clone();
        for list in &wiring.masks {
            for (gene, logit) in logits.iter_mut().enumerate() {
                let (units, slots) = list.gene(gene);
                let sum = units.iter().zip(slots).map(|(&unit, &slot)| {
                    heads[slot as usize] * hidden[usize::from(unit)] / wiring.masks.len() as f64
                });
                *logit += sum.sum::<f64>();
            }
        }
        let total: f64 = logits.iter().map(|l| l.exp()).sum();
        for (gene, logit) in logits.iter().enumerate() {
            out[(cell, gene)] = (1e4 * logit.exp() / total).ln_1p();
        }
    }
    out
}

fn centered(mut x: DMatrix<f64>) -> DMatrix<f64> {
    for mut column in x.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    x
}

fn check_components(space: &ExpressionSpace, places: &Array2<f64>, profiles: DMatrix<f64>) {
    let profiles = centered(profiles);
    let svd = profiles.clone().svd(false, true);
    let freedom = (N_CELLS - 1) as f64;
    let total: f64 = profiles.iter().map(|x| x * x).sum::<f64>() / freedom;
    assert!((space.total_variance / total - 1.0).abs() < 1e-4);
    let loadings = space.loadings().unwrap();
    let axes = svd.v_t.unwrap();
    for (k, sd) in space.sd.iter().enumerate() {
        let exact = svd.singular_values[k] / freedom.sqrt();
        assert!((sd / exact - 1.0).abs() < 1e-3, "sd {k}: {sd}, {exact}");
        let own = loadings.column(k);
        let largest = own
            .iter()
            .copied()
            .max_by(|a, b| a.abs().total_cmp(&b.abs()));
        assert!(largest.unwrap() > 0.0, "component {k} points down");
        let cosine: f64 = own.iter().zip(axes.row(k).iter()).map(|(a, b)| a * b).sum();
        assert!(cosine.abs() > 0.999, "component {k}: cosine {cosine}");
        for cell in 0..N_CELLS {
            let along: f64 = (0..N_GENES)
                .map(|gene| profiles[(cell, gene)] * loadings[[gene, k]])
                .sum();
            let (place, near) = (places[[cell, k]], 1e-3 * space.sd[0]);
            assert!(
                (place - along).abs() < near,
                "cell {cell}: {place}, {along}"
            );
        }
    }
    let held = |k: usize| space.sd[..k].iter().map(|s| s * s).sum::<f64>() / total;
    let k = space.n_components();
    assert!(
        held(k) >= 0.98 - 1e-4 && held(k - 1) < 0.98,
        "{k} components"
    );
}

#[test]
fn components_are_those_of_the_decoded_expression() {
    let (model, z) = model(&learned(), false);
    let space = ExpressionSpace::find(&model, &z, &|| false).unwrap();
    let places = space.place(&model, &z, &|| false).unwrap();
    check_components(&space, &places, expected(&model, &z));
}

#[test]
fn cells_of_batches_are_decoded_as_of_none() {
    for batch_masks in [BatchMasks::Shared, BatchMasks::Separate] {
        let s = Settings {
            batch_masks,
            ..learned()
        };
        let (model, z) = model(&s, true);
        let space = ExpressionSpace::find(&model, &z, &|| false).unwrap();
        let places = space.place(&model, &z, &|| false).unwrap();
        check_components(&space, &places, expected(&model, &z));
    }
}

#[test]
fn several_models_are_decomposed_side_by_side() {
    let (first, z_first) = model(&learned(), false);
    let other = Settings {
        seed: 12,
        ..learned()
    };
    let (second, z_second) = model(&other, false);
    let models = [(&first, &z_first), (&second, &z_second)];
    let spaces = ExpressionSpace::find_joint(&models, &|| false).unwrap();
    let places: Vec<_> = spaces
        .iter()
        .zip(models)
        .map(|(space, (model, z))| space.place(model, z, &|| false).unwrap())
        .collect();
    let joint = (&places[0] + &places[1]) / 2.0;
    let profiles = [
        centered(expected(&first, &z_first)),
        centered(expected(&second, &z_second)),
    ];
    // The squared distance of two cells is the mean of those by the models.
    let mut both = DMatrix::zeros(N_CELLS, 2 * N_GENES);
    both.columns_mut(0, N_GENES).copy_from(&profiles[0]);
    both.columns_mut(N_GENES, N_GENES).copy_from(&profiles[1]);
    let svd = (both / 2f64.sqrt()).svd(true, false);
    let k = spaces[0].n_components();
    let alone = ExpressionSpace::find(&first, &z_first, &|| false).unwrap();
    assert_eq!(k, alone.n_components());
    let u = svd.u.unwrap();
    for component in 0..k {
        let exact = svd.singular_values[component];
        let sd = exact / ((N_CELLS - 1) as f64).sqrt();
        assert!((spaces[1].sd[component] / sd - 1.0).abs() < 2e-3);
        let sign = (0..N_CELLS).map(|cell| u[(cell, component)] * joint[[cell, component]]);
        let sign = sign.sum::<f64>().signum();
        for cell in 0..N_CELLS {
            let place = sign * exact * u[(cell, component)];
            let apart = (joint[[cell, component]] - place).abs();
            assert!(
                apart < 2e-2 * spaces[0].sd[0],
                "component {component}: {apart}"
            );
        }
    }
}

#[test]
fn the_same_from_its_file_and_with_any_number_of_threads() {
    let (matrix, batch) = simulated(N_CELLS, N_GENES, 5);
    let view = filter(&matrix, 0, 0).unwrap();
    let trained = fit(&view, &batch, &learned());
    let z = embed(&trained.model, &view, &batch, &|| false)
        .unwrap()
        .mean;
    let find = || {
        let space = ExpressionSpace::find(&trained.model, &z, &|| false)?;
        let places = space.place(&trained.model, &z, &|| false)?;
        Ok((space, places))
    };
    let alone = with_threads(1, find).unwrap();
    let together = with_threads(3, find).unwrap();
    assert_eq!(alone.1, together.1);
    let (space, places) = together;
    let mut saved = save(trained, N_GENES);
    saved.expression = Some(space);
    let bytes = saved.to_bytes().unwrap();
    let back = SavedModel::from_bytes(&bytes).unwrap();
    assert_eq!(back.places(&z, &|| false).unwrap(), Some(places));
    assert_eq!(back.to_bytes().unwrap(), bytes);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, z) = model(
        &Settings {
            max_epochs: Some(1),
            ..learned()
        },
        false,
    );
    let space = ExpressionSpace::find(&model, &z, &|| false).unwrap();
    let narrow = Array2::zeros((3, 1));
    assert!(matches!(
        space.place(&model, &narrow, &|| false),
        Err(Error::Argument(_))
    ));
    let few = z.slice(ndarray::s![..5, ..]).to_owned();
    let unlike = [(&model, &z), (&model, &few)];
    assert!(matches!(
        ExpressionSpace::find_joint(&unlike, &|| false),
        Err(Error::Argument(_))
    ));
    assert!(matches!(
        ExpressionSpace::find(&model, &z, &|| true),
        Err(Error::Interrupted)
    ));
    // One cell, and cells that are all alike, have a place, too.
    for n in [1, 5] {
        let same = Array2::zeros((n, z.ncols()));
        let space = ExpressionSpace::find(&model, &same, &|| false).unwrap();
        let places = space.place(&model, &same, &|| false).unwrap();
        assert_eq!(space.n_components(), 1);
        assert!(places.iter().all(|x| x.abs() < 1e-4));
    }
}
