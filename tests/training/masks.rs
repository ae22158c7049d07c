//! Connections in training: masks of batches, and the weights that new connections start from.

use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::counts::filter;
use scvae::layers::{wire, ConnectionMask};
use scvae::model::{BatchMasks, Settings, TensorId, Vae};
use scvae::sampling::{Sampler, Sampling, Split, Streams};
use scvae::saved::SavedModel;

use crate::simulated::{fit, save, settings, simulated};

#[test]
fn masks_of_batches_start_equal_and_part() {
    let (matrix, batch) = simulated(150, 200, 4);
    let view = filter(&matrix, 3, 1).unwrap();
    let separate = Settings {
        batch_masks: BatchMasks::Separate,
        ..settings()
    };
    // After the last epoch nothing is adjusted: these are the masks that the training starts with.
    let short = Settings {
        max_epochs: Some(1),
        ..separate.clone()
    };
    let start = fit(&view, &batch, &short).model.masks();
    assert_eq!(start.len(), 2);
    assert_eq!(start[0], start[1]);
    let masks = fit(&view, &batch, &separate).model.masks();
    assert_eq!(masks.len(), 2);
    assert_ne!(masks[0], masks[1]);
    assert_ne!(masks[0], start[0]);
    let n_init = settings().adjustment_rules().n_init(32);
    for mask in &masks {
        assert_eq!(mask.total(), n_init * view.n_genes());
    }
    assert_eq!(fit(&view, &batch, &settings()).model.masks().len(), 1);
}

#[test]
fn the_mask_of_a_batch_that_was_not_drawn_keeps_its_connections() {
    let (matrix, _) = simulated(60, 80, 42);
    let view = filter(&matrix, 0, 0).unwrap();
    // One cell of the second batch, which is drawn once in an epoch on average.
    let batch: Vec<usize> = (0..60).map(|cell| usize::from(cell == 17)).collect();
    let of_seed = |seed: u64| Settings {
        batch_masks: BatchMasks::Separate,
        sampling: Sampling::Replacement,
        batch_size: 20,
        train_size: 1.0,
        max_epochs: Some(2),
        seed,
        ..settings()
    };
    let is_drawn = |seed: u64| {
        let (s, streams) = (of_seed(seed), Streams::new(seed));
        let split = Split::draw(&batch, 2, s.train_size, streams);
        let range = s.depth_range;
        let mut sampler = Sampler::new(split.train, s.batch_size, s.sampling, range, streams);
        sampler.epoch().iter().any(|step| !step[1].is_empty())
    };
    for drawn in [false, true] {
        let seed = (0..50).find(|&seed| is_drawn(seed) == drawn).unwrap();
        let design = Design::single(2);
        let initial = InitialValues::flat(view.n_genes(), &design);
        let start = Vae::new(&of_seed(seed), &design, &initial, &Cpu).unwrap();
        let start = start.masks();
        // The connections are adjusted once, between the two epochs.
        let after = fit(&view, &batch, &of_seed(seed)).model.masks();
        assert_ne!(after[0], start[0]);
        assert_eq!(after[1] != start[1], drawn, "seed {seed}");
    }
}

#[test]
fn a_connection_starts_from_the_same_weight_whatever_the_others_are() {
    let (n_genes, n_hidden) = (30, settings().n_hidden);
    let s = Settings {
        batch_masks: BatchMasks::Separate,
        ..settings()
    };
    let design = Design::single(2);
    let initial = InitialValues::flat(n_genes, &design);
    let mut whole = ConnectionMask::empty(n_genes, n_hidden);
    for gene in 0..n_genes {
        (0..n_hidden).for_each(|unit| whole.connect(gene, unit));
    }
    let dense = Vae::with_wiring(&s, &design, &initial, wire(&[whole]), &Cpu).unwrap();
    let mut model = Vae::new(&s, &design, &initial, &Cpu).unwrap();
    let check = |model: &Vae| {
        for id in [
            TensorId::EncoderWeights,
            TensorId::ScaleWeights,
            TensorId::DropoutWeights,
        ] {
            let [expected, found] = [&dense, model].map(|model| {
                let tensors = model.snapshot().unwrap().tensors;
                tensors[&id].to_vec1::<f32>().unwrap()
            });
            assert!(expected.iter().any(|w| w.abs() > 1e-3));
            let wiring = model.wiring();
            for gene in 0..n_genes {
                let slots = wiring.offsets[gene] as usize..wiring.offsets[gene + 1] as usize;
                for slot in slots {
                    let unit = usize::from(wiring.hidden[slot]);
                    assert_eq!(found[slot], expected[gene * n_hidden + unit], "{id}");
                }
            }
        }
    };
    check(&model);
    let start = model.masks();
    // The masks part, gain and lose connections, and have other numbers of them.
    let mut parted = start.clone();
    for gene in 0..n_genes {
        let free = (0..n_hidden).filter(|&unit| !start[0].is_connected(gene, unit));
        free.take(2).for_each(|unit| parted[0].connect(gene, unit));
        let taken = start[1].units(gene).next().unwrap();
        parted[0].disconnect(gene, taken);
        parted[1].disconnect(gene, taken);
    }
    assert_ne!(parted[0], parted[1]);
    model.rewire(&parted).unwrap();
    assert_eq!(model.wiring().n_slots(), wire(&start).n_slots() + n_genes);
    check(&model);
    // What was removed comes back, as it started.
    model.rewire(&start).unwrap();
    check(&model);
}

#[test]
fn the_connections_of_every_epoch_are_recorded() {
    let (matrix, batch) = simulated(90, 60, 9);
    let view = filter(&matrix, 3, 1).unwrap();
    let many = Settings {
        n_hidden: 600,
        alpha_init: 0.5,
        alpha_max: 0.9,
        ..settings()
    };
    let separate = Settings {
        batch_masks: BatchMasks::Separate,
        ..settings()
    };
    for s in [settings(), many, separate] {
        let trained = fit(&view, &batch, &s);
        let n_init = s.adjustment_rules().n_init(s.n_hidden) as u16;
        let epochs = trained.history.connections.clone();
        assert_eq!(epochs.len(), trained.history.epochs.len());
        assert!(epochs[0].iter().all(|&n| n == n_init));
        for pair in epochs.windows(2) {
            assert_ne!(pair[0], pair[1], "every epoch but the last adjusts");
        }
        let masks = trained.model.masks();
        let mean = |gene: usize| {
            let n: usize = masks.iter().map(|mask| mask.n_of_gene(gene)).sum();
            (n as f64 / masks.len() as f64).round() as u16
        };
        let last: Vec<u16> = (0..view.n_genes()).map(mean).collect();
        assert_eq!(epochs[epochs.len() - 1], last);
        let bytes = save(trained, view.n_genes()).to_bytes().unwrap();
        let back = SavedModel::from_bytes(&bytes).unwrap();
        assert_eq!(back.history.connections, epochs);
    }
    let fixed = Settings {
        adjust_every: 0,
        ..settings()
    };
    let trained = fit(&view, &batch, &fixed);
    assert!(trained.history.connections.is_empty());
}
