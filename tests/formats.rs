//! Files that older versions wrote are read as they were meant. `tools/frozen-models.sh` says how they were made; beside
//! each model lies what the version that wrote it made of some cells.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;
use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::{filter, CountsView};
use scvae::kernels::Likelihood;
use scvae::layers::CriterionName;
use scvae::model::{BatchMasks, Stopped};
use scvae::results::{embed, reconstruct, Output, Reconstruction};
use scvae::saved::{Checkpoint, Fingerprint, SavedModel};
use scvae::training::{Silent, Trained, Training, TrainingCells};
use scvae::{Error, Result};

#[path = "formats/cells.rs"]
mod cells;

use cells::{batches, gene_names, matrix, Batches, N_CELLS, N_GENES};

/// The largest piece of memory that was asked for.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Watched;

unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        System.dealloc(pointer, layout);
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        System.realloc(pointer, layout, size)
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap()
}

/// What the version that wrote a file made of it.
struct Expected(HashMap<String, HashMap<(usize, usize), f64>>);

impl Expected {
    fn of(name: &str) -> Self {
        let text = std::fs::read_to_string(folder().join(format!("{name}.csv"))).unwrap();
        let mut tables: HashMap<String, HashMap<(usize, usize), f64>> = HashMap::new();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let at = (fields[1].parse().unwrap(), fields[2].parse().unwrap());
            let table = tables.entry(fields[0].into()).or_default();
            table.insert(at, fields[3].parse().unwrap());
        }
        Expected(tables)
    }

    /// The largest difference to a table, `NaN` against `NaN` being none.
    fn difference(&self, what: &str, found: &Array2<f64>) -> f64 {
        let table = &self.0[what];
        let differences = table.iter().map(|(&at, &value)| match found[at] {
            found if found.is_nan() && value.is_nan() => 0.0,
            found if found.is_nan() || value.is_nan() => f64::INFINITY,
            found => (found - value).abs(),
        });
        differences.fold(0.0, f64::max)
    }
}

fn latent(saved: &SavedModel, view: &CountsView, batch: &[usize]) -> Array2<f64> {
    embed(&saved.model, view, batch, &|| false).unwrap().mean
}

/// Cells x genes.
fn reconstructed(
    saved: &SavedModel,
    view: &CountsView,
    batch: &[usize],
    output: Output,
) -> Array2<f64> {
    let genes: Vec<usize> = (0..N_GENES).collect();
    let how = Reconstruction {
        genes: &genes,
        batch,
        style: &[],
        library: None,
        output,
    };
    let by_gene = reconstruct(&saved.model, view, &how, &|| false).unwrap();
    by_gene.reversed_axes()
}

/// Every number of a file against what was recorded with it.
fn check_numbers(name: &str, saved: &SavedModel, codes: &[usize], what: &str) {
    let matrix = matrix();
    let view = filter(&matrix, 0, 0).unwrap();
    let expected = Expected::of(name);
    let close = |table: &str, found: Array2<f64>, most: f64| {
        let difference = expected.difference(table, &found);
        assert!(difference < most, "{name}, {what}: {table} {difference}");
    };
    close("latent", latent(saved, &view, codes), 1e-5);
    let shares = reconstructed(saved, &view, codes, Output::Scale);
    close("px_scale", shares, 1e-5);
    if saved.model.settings.likelihood == Likelihood::Zinb {
        let zeros = reconstructed(saved, &view, codes, Output::Dropout);
        close("px_dropout", zeros, 1e-5);
    }
    let connections = saved.connections();
    let shape = (connections.len(), N_GENES);
    let connections = Array2::from_shape_fn(shape, |(b, g)| connections[b][g] as f64);
    close("connections", connections, 0.5);
    let epochs = &saved.history.epochs;
    let n_recorded = expected.0["history"].len() / 9;
    assert_eq!(epochs.len(), n_recorded, "{name}, {what}");
    let or_nan = |x: Option<f64>| x.unwrap_or(f64::NAN);
    let record = Array2::from_shape_fn((n_recorded, 9), |(i, column)| {
        let e = &epochs[i];
        [
            e.epoch as f64,
            e.elbo_train,
            e.reconstruction_loss_train,
            e.kl_local_train,
            e.kl_weight,
            or_nan(e.elbo_validation),
            or_nan(e.reconstruction_loss_validation),
            or_nan(e.kl_local_validation),
            e.connections_changed as f64,
        ][column]
    });
    close("history", record, 1e-6);
}

/// The batches as a file of this name has them today.
fn batches_today(name: &str) -> Batches {
    if name.ends_with("mapped") {
        let names = vec!["reference".to_string(), "new".to_string()];
        return Batches {
            codes: vec![1; N_CELLS],
            covariates: vec![("batch".into(), names.clone())],
            names,
            levels: vec![vec![0], vec![1]],
        };
    }
    // One batch is no batch.
    match name.ends_with("one") {
        true => batches("none"),
        false => batches(name),
    }
}

fn check(name: &str) {
    let saved = SavedModel::from_bytes(&bytes(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let batches = batches_today(name);
    assert_eq!(saved.gene_names, gene_names(), "{name}");
    assert_eq!(saved.batch_names, batches.names, "{name}");
    assert!(saved.batch_columns.is_empty(), "{name}");
    let covariates = saved.covariates.iter();
    let covariates: Vec<_> = covariates
        .map(|c| (c.name.clone(), c.levels.clone()))
        .collect();
    assert_eq!(covariates, batches.covariates, "{name}");
    let n_levels = covariates.iter().map(|c| c.1.len()).collect();
    let design = Design::new(n_levels, batches.levels.clone()).unwrap();
    assert_eq!(saved.model.design, design, "{name}");

    let settings = &saved.model.settings;
    let has = |word: &str| name.split('_').any(|w| w == word);
    assert_eq!(
        (settings.n_hidden, settings.n_latent, settings.seed),
        (12, 3, 7)
    );
    assert_eq!(settings.lr, 0.01, "{name}");
    assert_eq!(settings.max_epochs, Some(if has("early") { 5 } else { 2 }));
    let likelihood = match () {
        () if has("nb") => Likelihood::Nb,
        () if has("poisson") => Likelihood::Poisson,
        () => Likelihood::Zinb,
    };
    assert_eq!(settings.likelihood, likelihood, "{name}");
    assert_eq!(settings.fc_layer, likelihood == Likelihood::Zinb, "{name}");
    // Batches that were mapped to a model without batches share its one mask.
    let separate = settings.batch_masks == BatchMasks::Separate;
    assert_eq!(separate, has("separate") && !has("mapped"), "{name}");
    // Format 1 knew no offsets, and another default weight of the modules.
    let is_1 = name.starts_with("format1");
    assert_eq!(settings.batch_offsets, !is_1, "{name}");
    assert_eq!(settings.beta, if is_1 { 1.0 } else { 0.2 }, "{name}");
    let criterion = match has("deviance") {
        true => CriterionName::Deviance,
        // There was no choice before.
        false => CriterionName::Mse,
    };
    assert_eq!(settings.criterion, criterion, "{name}");
    assert_eq!(saved.history.stopped, Stopped::Completed, "{name}");
    assert_eq!(saved.history.best_epoch.is_some(), has("early"), "{name}");
    let mut epochs = saved.history.epochs.iter();
    assert!(epochs.all(|epoch| epoch.seconds.is_none()), "{name}");

    assert_eq!(saved.library.len(), batches.names.len().max(1), "{name}");
    let known = saved.library.iter().all(|&library| library > 0.0);
    assert_eq!(known, !is_1, "{name}: {:?}", saved.library);
    let remembers = ["00d8db8", "c857814", "82b4957", "format3", "format4"];
    let remembers = remembers.iter().any(|version| name.contains(version)) && !has("forgets");
    assert_eq!(saved.cell_groups.is_some(), remembers, "{name}");
    if let Some(groups) = &saved.cell_groups {
        assert_eq!(groups.profiles.dims()[1], N_GENES, "{name}");
        assert_eq!(groups.latent.dims()[1], 3, "{name}");
    }

    check_numbers(name, &saved, &batches.codes, "as it was written");
    let today = saved.to_bytes().unwrap();
    let again = SavedModel::from_bytes(&today).unwrap();
    check_numbers(name, &again, &batches.codes, "saved again");
    assert!(again.to_bytes().unwrap() == today, "{name}");
}

fn names(format: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names = names.filter_map(|name| Some(name.strip_suffix(".safetensors")?.to_string()));
    let mut names: Vec<String> = names.filter(|name| name.starts_with(format)).collect();
    names.sort();
    names
}

/// Settings and offsets that were measured and dropped again: their models cannot be what they were.
const DROPPED: [&str; 2] = ["format2_60e2780_dispersion_two", "format2_c857814_two"];

#[test]
fn files_of_format_1_are_read() {
    let names = names("format1");
    assert_eq!(names.len(), 8);
    names.iter().for_each(|name| check(name));
}

#[test]
fn files_of_format_2_are_read() {
    let names = names("format2");
    assert_eq!(names.len(), 15);
    let read = names
        .iter()
        .filter(|name| !DROPPED.contains(&name.as_str()));
    read.for_each(|name| check(name));
}

#[test]
fn files_of_format_3_are_read() {
    let names = names("format3");
    assert_eq!(names.len(), 6);
    names.iter().for_each(|name| check(name));
}

#[test]
fn files_of_format_4_are_read() {
    let names = names("format4");
    assert_eq!(names.len(), 2);
    names.iter().for_each(|name| check(name));
}

#[test]
fn models_of_dropped_experiments_are_refused() {
    for (name, what) in DROPPED
        .iter()
        .zip(["batch_dispersion", "decoder.dropout.offsets"])
    {
        match SavedModel::from_bytes(&bytes(name)) {
            Err(Error::Model(message)) => assert!(message.contains(what), "{message}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_frozen_checkpoint_goes_on_to_what_its_version_made_of_it() {
    let matrix = matrix();
    let view = filter(&matrix, 0, 0).unwrap();
    let checkpoints = names("checkpoint");
    assert_eq!(checkpoints.len(), 3, "two of format 1, one of format 2");
    for name in checkpoints {
        let (known, resume) = Checkpoint::from_bytes(&bytes(&name)).unwrap();
        let batches = batches(&name);
        let fingerprint = Fingerprint::of(&view, &batches.codes, &gene_names());
        known.fingerprint.check(&fingerprint).unwrap();
        assert_eq!(known.batch_names, batches.names);
        assert_eq!(resume.n_epochs().unwrap(), 2);
        let cells = TrainingCells {
            view: &view,
            batch: &batches.codes,
            design: &known.design,
        };
        let resumed = || -> Result<Trained<Cpu>> {
            let mut training = Training::to_resume(cells, &known.settings, &Cpu, &Silent)?;
            resume.put(&mut training.state)?;
            training.run()
        };
        let trained = resumed().unwrap();
        let saved = SavedModel {
            library: vec![1.0; trained.model.n_batches()],
            cell_groups: None,
            gene_names: gene_names(),
            batch_names: known.batch_names.clone(),
            batch_columns: known.batch_columns.clone(),
            covariates: known.covariates.clone(),
            model: trained.model,
            history: trained.history,
            evidence: None,
            expression: None,
        };
        let epochs = saved.history.epochs.len();
        assert!(epochs > 2);
        check_numbers(&name, &saved, &batches.codes, "resumed");
    }
}

#[test]
fn the_cells_lie_beside_the_models_too() {
    let text = std::fs::read_to_string(folder().join("counts.txt")).unwrap();
    let mut counts = vec![vec![0.0; N_GENES]; N_CELLS];
    let matrix = matrix();
    let view = filter(&matrix, 0, 0).unwrap();
    for (cell, counts) in counts.iter_mut().enumerate() {
        view.for_each_in_cell(cell, |gene, count| counts[gene as usize] = f64::from(count));
    }
    let lines = counts.iter().map(|counts| {
        let digits: String = counts.iter().map(|count| count.to_string()).collect();
        digits + "\n"
    });
    assert_eq!(lines.collect::<String>(), text);
}

type Arrays = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A file with something else in it, and the right checksum if it had one.
fn edited(name: &str, edit: impl FnOnce(&mut serde_json::Value, &mut Arrays)) -> Vec<u8> {
    let bytes = bytes(name);
    let (_, meta) = SafeTensors::read_metadata(&bytes).unwrap();
    let header = &meta.metadata().as_ref().unwrap()["scvae"];
    let checked = !header.starts_with('{');
    let mut header = serde_json::from_str(&header[header.find('{').unwrap()..]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let arrays = file.iter().map(|(name, view)| {
        let array = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name.to_string(), array)
    });
    let mut arrays: Arrays = arrays.collect();
    edit(&mut header, &mut arrays);
    let mut header = header.to_string();
    if checked {
        let mut sum = crc32fast::Hasher::new();
        sum.update(header.as_bytes());
        for (name, (dtype, shape, bytes)) in &arrays {
            sum.update(name.as_bytes());
            sum.update(format!("{dtype:?}{shape:?}").as_bytes());
            sum.update(bytes);
        }
        header = format!("{:08x} {header}", sum.finalize());
    }
    let views = arrays.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    let meta = HashMap::from([("scvae".to_string(), header)]);
    safetensors::serialize(views, Some(meta)).unwrap()
}

fn refused(bytes: &[u8], what: &str) {
    match SavedModel::from_bytes(bytes) {
        Err(Error::Model(message)) => assert!(message.contains(what), "{what}: {message}"),
        other => panic!("{what}: {:?}", other.map(|saved| saved.gene_names)),
    }
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < 1 << 25, "{what}: {largest} bytes at once");
}

fn zeros(shape: &[usize]) -> (Dtype, Vec<usize>, Vec<u8>) {
    let n = shape.iter().product::<usize>();
    (Dtype::F32, shape.to_vec(), vec![0; 4 * n])
}

#[test]
fn what_is_not_edited_stays() {
    for name in ["format2_82b4957_two", "format3_two"] {
        let model = |bytes: &[u8]| SavedModel::from_bytes(bytes).unwrap().to_bytes().unwrap();
        let same = edited(name, |_, _| {});
        assert!(model(&same) == model(&bytes(name)), "{name}");
    }
}

#[test]
fn a_file_gets_no_memory_for_what_it_only_claims() {
    let many = 65536;
    for format in ["format2_82b4957_", "format3_"] {
        let two = format!("{format}two");
        let none = format!("{format}none_nb_early_forgets");
        let settings = edited(&two, |header, _| {
            header["settings"]["n_hidden"] = many.into();
        });
        refused(&settings, "encoder.sparse.bias");
        let wide = |header: &mut serde_json::Value, arrays: &mut Arrays, fc_layer: bool| {
            header["settings"]["n_hidden"] = many.into();
            header["settings"]["fc_layer"] = fc_layer.into();
            arrays.insert("encoder.sparse.bias".into(), zeros(&[many]));
            arrays.insert("decoder.fc.weight".into(), zeros(&[many, 3]));
        };
        refused(&edited(&two, |h, a| wide(h, a, true)), "encoder.fc.weight");
        let modules = edited(&two, |h, a| wide(h, a, false));
        refused(&modules, "encoder.batch.0.0.weight");
        // Every gene has one of so many units.
        let genes = edited(&none, |header, arrays| {
            wide(header, arrays, false);
            let n = 50_000;
            header["gene_names"] = vec![""; n].into();
            let one = [1, 0, 0, 0].repeat(n);
            let counts = (Dtype::U32, vec![n], one);
            arrays.insert("mask.0.connections_of_gene".into(), counts);
            let units = (Dtype::U16, vec![n], vec![0; 2 * n]);
            arrays.insert("mask.0.hidden_unit".into(), units);
        });
        refused(&genes, "");
        // All combinations of two covariates, without offsets.
        let batches = edited(&none, |header, arrays| {
            let n = 100;
            header["settings"]["batch_offsets"] = false.into();
            header["gene_names"] = vec![""; 10_000].into();
            let levels: Vec<[usize; 2]> = (0..n * n).map(|b| [b / n, b % n]).collect();
            header["design"] = serde_json::json!({"n_levels": [n, n], "levels": levels});
            header["batch_names"] = vec![""; n * n].into();
            header["library"] = vec![1.0; n * n].into();
            let covariate = serde_json::json!({"name": "a", "levels": vec![""; n]});
            header["covariates"] = vec![covariate; 2].into();
            for (covariate, level) in levels.iter().flat_map(|l| [(0, l[0]), (1, l[1])]) {
                for part in ["encoder", "decoder"] {
                    let module = format!("{part}.batch.{covariate}.{level}.weight");
                    arrays.insert(module, zeros(&[12, 12]));
                }
            }
            let n = 10_000;
            let counts = (Dtype::U32, vec![n], vec![0; 4 * n]);
            arrays.insert("mask.0.connections_of_gene".into(), counts);
            arrays.insert(
                "mask.0.hidden_unit".into(),
                (Dtype::U16, vec![0], Vec::new()),
            );
        });
        refused(&batches, "");
    }
}

#[test]
fn connections_that_cannot_be_are_refused() {
    let three = "format3_separate_three";
    let without = |mask: usize, arrays: &mut Arrays| {
        arrays.remove(&format!("mask.{mask}.hidden_unit"));
        arrays.remove(&format!("mask.{mask}.connections_of_gene"));
    };
    let fewer = |last: usize| edited(three, |_, a| (last..3).for_each(|mask| without(mask, a)));
    refused(&fewer(2), "lacks mask.2");
    refused(&fewer(1), "lacks mask.1");
    refused(&fewer(0), "lacks mask.0");
    let more = edited(three, |_, arrays| {
        for part in ["hidden_unit", "connections_of_gene"] {
            let array = arrays[&format!("mask.2.{part}")].clone();
            arrays.insert(format!("mask.3.{part}"), array);
        }
    });
    refused(&more, "more masks than batches");

    let units = |edit: fn(&mut Vec<u8>)| {
        edited("format3_two", |_, arrays| {
            let units = arrays.get_mut("mask.0.hidden_unit").unwrap();
            edit(&mut units.2);
            units.1 = vec![units.2.len() / 2];
        })
    };
    let twice = units(|units| units.copy_within(..2, 2));
    refused(&twice, "twice");
    let nowhere = units(|units| units[0] = 12);
    refused(&nowhere, "nowhere");
    let fewer = units(|units| units.truncate(units.len() - 2));
    refused(&fewer, "more connections than there are");
    let more = units(|units| units.extend([0, 0]));
    refused(&more, "belong to no gene");
}

#[test]
fn other_parts_that_do_not_fit_are_refused() {
    let history = edited("format3_two", |_, arrays| {
        arrays.get_mut("history").unwrap().1 = vec![3, 6];
    });
    refused(&history, "history");
    let groups = edited("format3_two", |_, arrays| {
        arrays.remove("cell_groups.latent");
    });
    refused(&groups, "groups of cells");
    let likelihood = edited("format3_two", |header, _| {
        header["settings"]["likelihood"] = "nb".into();
    });
    refused(&likelihood, "decoder.dropout");
    let format = edited("format3_two", |header, _| header["format"] = 5.into());
    refused(&format, "format 5");
    let batches = edited("format1_c3e11e6_two", |header, _| {
        header["n_batches"] = 1_000_000_000.into();
    });
    refused(&batches, "batches");
}

#[test]
fn a_flipped_bit_in_an_old_file_is_never_worse_than_an_error() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for name in names("format") {
        let known = bytes(&name);
        for _ in 0..200 {
            let mut flipped = known.clone();
            let at = rng.random_range(0..flipped.len());
            flipped[at] ^= 1 << rng.random_range(0..8);
            let read = SavedModel::from_bytes(&flipped);
            let is_error = matches!(read, Err(Error::Model(_)));
            assert!(is_error || read.is_ok(), "{name}, byte {at}: {read:?}");
            assert!(
                is_error || !name.starts_with("format3"),
                "{name}, byte {at}"
            );
        }
    }
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < 1 << 25, "{largest} bytes at once");
}
