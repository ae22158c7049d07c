//! Trainings that were cut off go on to the same bits.

use std::cell::RefCell;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Poisson;
use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::{filter, CountMatrix, CountsView};
use scvae::kernels::Likelihood;
use scvae::model::{BatchMasks, Settings};
use scvae::results::{repeat_fits, ScoredFit};
use scvae::sampling::Sampling;
use scvae::saved::{Checkpoint, Fingerprint, SavedModel, ScoreFolder, ScoreOrigin};
use scvae::training::{with_threads, Silent, TrainState, Trained, Training, TrainingCells};
use scvae::{Error, Result};

const N_GENES: usize = 50;

fn simulated(seed: u64) -> (CountMatrix<'static>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for cell in 0..90 {
        for gene in 0..N_GENES {
            let mean = if gene % 3 == cell % 3 { 2.0 } else { 0.4 };
            let count: f64 = rng.sample(Poisson::new(mean).unwrap());
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count as f32);
            }
        }
        offsets.push(genes.len());
    }
    let batch = (0..90).map(|cell| cell / 3 % 3).collect();
    let matrix = CountMatrix::from_csr(offsets, genes, values, N_GENES).unwrap();
    (matrix, batch)
}

fn names() -> Vec<String> {
    (0..N_GENES).map(|gene| format!("gene{gene}")).collect()
}

fn checkpoint(cells: TrainingCells, settings: &Settings) -> Checkpoint {
    Checkpoint {
        settings: settings.clone(),
        design: cells.design.clone(),
        batch_names: Vec::new(),
        batch_columns: Vec::new(),
        covariates: Vec::new(),
        fingerprint: Fingerprint::of(cells.view, cells.batch, &names()),
    }
}

/// The model's file: the same bytes mean the same training, its record included.
fn file(trained: Trained<Cpu>) -> Vec<u8> {
    let saved = SavedModel {
        library: vec![1.0; trained.model.n_batches()],
        gene_names: names(),
        batch_names: Vec::new(),
        batch_columns: Vec::new(),
        covariates: Vec::new(),
        cell_groups: None,
        model: trained.model,
        history: trained.history,
        evidence: None,
        expression: None,
    };
    saved.to_bytes().unwrap()
}

/// Trains to the end; the checkpoint's bytes are kept from before the first epoch and after every one.
fn whole(cells: TrainingCells, settings: &Settings) -> (Vec<u8>, Vec<Vec<u8>>) {
    let kept = RefCell::new(Vec::new());
    let checkpoint = checkpoint(cells, settings);
    let save = |state: &TrainState| {
        kept.borrow_mut().push(checkpoint.to_bytes(state)?);
        Ok(())
    };
    let mut training = Training::new(cells, settings, &Cpu, &Silent).unwrap();
    save(&training.state).unwrap();
    training.save_with(1, &save);
    let bytes = file(training.run().unwrap());
    (bytes, kept.into_inner())
}

fn resumed(cells: TrainingCells, bytes: &[u8], threads: usize) -> Result<Vec<u8>> {
    let (known, resume) = Checkpoint::from_bytes(bytes)?;
    let settings = Settings {
        threads,
        ..known.settings.clone()
    };
    known.check(&checkpoint(cells, &settings))?;
    with_threads(threads, || {
        let mut training = Training::to_resume(cells, &settings, &Cpu, &Silent)?;
        resume.put(&mut training.state)?;
        Ok(file(training.run()?))
    })
}

#[test]
fn a_training_goes_on_from_every_epoch_to_the_same_bits() {
    let (matrix, batch) = simulated(1);
    let view = filter(&matrix, 0, 0).unwrap();
    let base = Settings {
        n_hidden: 24,
        n_latent: 3,
        batch_size: 20,
        max_epochs: Some(6),
        seed: 5,
        ..Settings::default()
    };
    let cases = [
        base.clone(),
        Settings {
            batch_masks: BatchMasks::Separate,
            likelihood: Likelihood::Nb,
            dropout_rate: 0.2,
            adjust_every: 4,
            ..base.clone()
        },
        Settings {
            early_stopping: true,
            early_stopping_patience: 2,
            check_val_every_n_epoch: 2,
            max_epochs: Some(40),
            lr: 0.05,
            train_size: 0.6,
            sampling: Sampling::Shuffle,
            likelihood: Likelihood::Poisson,
            fc_layer: false,
            ..base
        },
    ];
    for settings in cases {
        let design = Design::single(3);
        let cells = TrainingCells {
            view: &view,
            batch: &batch,
            design: &design,
        };
        let (expected, kept) = whole(cells, &settings);
        assert!(kept.len() > 4, "{} epochs", kept.len());
        for (epoch, bytes) in kept.iter().enumerate() {
            let threads = 1 + epoch % 2;
            let found = resumed(cells, bytes, threads).unwrap();
            assert!(found == expected, "resumed after epoch {epoch}");
        }
    }
}

#[test]
fn other_counts_and_damaged_checkpoints_are_refused() {
    let (matrix, batch) = simulated(2);
    let view = filter(&matrix, 0, 0).unwrap();
    let design = Design::single(3);
    let settings = Settings {
        n_hidden: 16,
        n_latent: 2,
        max_epochs: Some(1),
        ..Settings::default()
    };
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &design,
    };
    let (_, kept) = whole(cells, &settings);
    let refused = |cells: TrainingCells, what: &str| match resumed(cells, &kept[0], 1) {
        Err(Error::Argument(message)) => assert!(message.contains(what), "{message}"),
        other => panic!("{what}: {:?}", other.map(|bytes| bytes.len())),
    };
    let (other, _) = simulated(3);
    let other = filter(&other, 0, 0).unwrap();
    refused(
        TrainingCells {
            view: &other,
            ..cells
        },
        "counts are others",
    );
    let fewer: Vec<usize> = (0..60).collect();
    let positions: Vec<Option<u32>> = (0..N_GENES as u32).map(Some).collect();
    let fewer = CountsView::new(&matrix, fewer, &positions, N_GENES).unwrap();
    refused(
        TrainingCells {
            view: &fewer,
            batch: &batch[..60],
            ..cells
        },
        "60",
    );
    let turned: Vec<usize> = batch.iter().map(|b| 2 - b).collect();
    refused(
        TrainingCells {
            batch: &turned,
            ..cells
        },
        "batches",
    );
    let (known, _) = Checkpoint::from_bytes(&kept[0]).unwrap();
    let other = Settings {
        kl_weight: 0.5,
        ..settings
    };
    let message = known.check(&checkpoint(cells, &other)).unwrap_err();
    let message = message.to_string();
    assert!(message.contains("kl_weight = 1.0, not 0.5"), "{message}");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..100 {
        let mut flipped = kept[0].clone();
        let at = rng.random_range(0..flipped.len());
        flipped[at] ^= 1 << rng.random_range(0..8);
        assert!(Checkpoint::from_bytes(&flipped).is_err(), "byte {at}");
    }
    for cut in [0, 8, 100, kept[0].len() - 1] {
        assert!(Checkpoint::from_bytes(&kept[0][..cut]).is_err());
    }
}

#[test]
fn repeated_fits_go_on_after_the_last_that_was_done() {
    let (matrix, batch) = simulated(4);
    let view = filter(&matrix, 0, 0).unwrap();
    let design = Design::single(3);
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &design,
    };
    let settings = Settings {
        n_hidden: 16,
        n_latent: 2,
        max_epochs: Some(2),
        ..Settings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let folder_of = |settings: &Settings, n_copies: usize| ScoreFolder {
        path: folder.path().to_path_buf(),
        origin: ScoreOrigin {
            settings: settings.clone(),
            fingerprint: Fingerprint::of(&view, &batch, &names()),
            n_copies,
        },
    };
    let kept = folder_of(&settings, 0);
    let fits = |numbers: &[usize], keep: &mut (dyn FnMut(&ScoredFit) -> Result<()> + Send)| {
        repeat_fits(cells, &settings, &Cpu, numbers, |_| Silent, keep).unwrap()
    };
    assert_eq!(ScoreFolder::seed(folder.path()).unwrap(), None);
    kept.write(&fits(&[1], &mut |_| Ok(()))[0]).unwrap();
    assert_eq!(
        ScoreFolder::seed(folder.path()).unwrap(),
        Some(settings.seed)
    );
    std::fs::remove_file(ScoreFolder::file(folder.path(), 1)).unwrap();
    let made = fits(&[2, 0], &mut |fit| kept.write(fit));
    assert_same(&kept.read(0).unwrap().unwrap(), &made[1]);
    assert_same(&kept.read(2).unwrap().unwrap(), &made[0]);
    assert!(kept.read(1).unwrap().is_none());
    assert_eq!(
        ScoreFolder::seed(folder.path()).unwrap(),
        Some(settings.seed)
    );
    let at_once = fits(&[0, 1, 2], &mut |_| Ok(()));
    assert_same(&at_once[2], &made[0]);
    let other = Settings {
        lr: 0.1,
        ..settings.clone()
    };
    let copies = folder_of(&settings, 7).read(0).unwrap_err().to_string();
    assert!(copies.contains("0 null copies of genes, not 7"), "{copies}");
    let message = folder_of(&other, 0).read(0).unwrap_err().to_string();
    assert!(message.contains("lr"), "{message}");
    let [first, second] = [0, 1].map(|number| ScoreFolder::file(folder.path(), number));
    std::fs::copy(first, second).unwrap();
    let message = kept.read(1).unwrap_err().to_string();
    assert!(message.contains("fit 1 under another name"), "{message}");
}

/// To the bit, where there are numbers.
fn assert_same(a: &ScoredFit, b: &ScoredFit) {
    assert_eq!(a.number, b.number);
    assert_eq!(a.connections, b.connections);
    let bits = |fit: &ScoredFit| {
        let columns = fit.evidence.columns().map(|(_, values)| values.to_vec());
        columns
            .concat()
            .iter()
            .map(|x| x.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(a), bits(b));
}
