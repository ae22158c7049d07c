//! Settings: their ranges, and what follows from them.

use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::model::{Settings, Vae};
use scvae::Error;

#[test]
fn a_model_of_nineteen_thousand_genes_is_smaller_than_the_paper_s() {
    let design = Design::single(1);
    let initial = InitialValues::flat(19_000, &design);
    let model = Vae::new(&Settings::default(), &design, &initial, &Cpu).unwrap();
    let (g, h, l) = (19_000, 128, 10);
    let dense = |i: usize, o: usize| i * o + o;
    let expected = 3 * 25 * g + h + 3 * 2 * h + dense(h, h) + 2 * dense(h, l) + dense(l, h) + 3 * g;
    assert_eq!(model.n_parameters(), expected);
    assert!(model.n_parameters() < 3_090_000);
}

type Change = fn(&mut Settings);

/// For each rule of the settings, values that break it.
const BROKEN: [(&str, &[Change]); 22] = [
    (
        "n_hidden",
        &[|s| s.n_hidden = 0, |s| s.n_hidden = (1 << 16) + 1],
    ),
    ("n_latent", &[|s| s.n_latent = 0, |s| s.n_latent = 1025]),
    (
        "dropout_rate",
        &[
            |s| s.dropout_rate = 1.0,
            |s| s.dropout_rate = -0.1,
            |s| s.dropout_rate = f64::NAN,
        ],
    ),
    (
        "alpha_min",
        &[
            |s| s.alpha_min = 0.0,
            |s| s.alpha_min = s.alpha_init + 0.1,
            |s| s.alpha_min = f64::NAN,
        ],
    ),
    ("alpha_init", &[|s| s.alpha_init = s.alpha_max + 0.1]),
    (
        "alpha_max",
        &[|s| s.alpha_max = 1.1, |s| s.alpha_max = f64::INFINITY],
    ),
    ("n_al", &[|s| s.n_al = 1.5, |s| s.n_al = f64::NAN]),
    ("n_pl", &[|s| s.n_pl = 1.5, |s| s.n_pl = -0.1]),
    ("n_pw", &[|s| s.n_pw = 1.5, |s| s.n_pw = -0.1]),
    ("q_w", &[|s| s.q_w = 1.1, |s| s.q_w = -0.1]),
    ("v_w", &[|s| s.v_w = -1e-9, |s| s.v_w = f64::INFINITY]),
    ("beta", &[|s| s.beta = f64::NAN]),
    (
        "depth_range",
        &[|s| s.depth_range = 1.0, |s| s.depth_range = -0.1],
    ),
    ("max_epochs", &[|s| s.max_epochs = Some(0)]),
    ("batch_size", &[|s| s.batch_size = 1]),
    (
        "train_size",
        &[|s| s.train_size = 0.0, |s| s.train_size = 1.1],
    ),
    (
        "early_stopping_patience",
        &[|s| s.early_stopping_patience = 0],
    ),
    (
        "check_val_every_n_epoch",
        &[|s| s.check_val_every_n_epoch = 0],
    ),
    (
        "lr",
        &[
            |s| s.lr = 0.0,
            |s| s.lr = f64::NAN,
            |s| s.lr = f64::INFINITY,
        ],
    ),
    ("eps", &[|s| s.eps = 0.0, |s| s.eps = f64::NAN]),
    (
        "weight_decay",
        &[
            |s| s.weight_decay = Some(-1e-9),
            |s| s.weight_decay = Some(f64::INFINITY),
        ],
    ),
    (
        "kl_weight",
        &[|s| s.kl_weight = -1.0, |s| s.kl_weight = f64::NAN],
    ),
];

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for (name, changes) in BROKEN {
        for change in changes {
            let mut s = Settings::default();
            change(&mut s);
            match s.check() {
                Err(Error::Argument(message)) => {
                    assert!(message.starts_with(&format!("{name} ")), "{message}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    let unknown = serde_json::from_str::<Settings>(r#"{"n_layers": 2}"#).unwrap_err();
    assert!(unknown.to_string().contains("n_layers"));
    let without_validation = Settings {
        early_stopping: true,
        train_size: 1.0,
        ..Settings::default()
    };
    let message = without_validation.check().unwrap_err().to_string();
    assert!(message.contains("train_size"), "{message}");
}

#[test]
fn every_number_among_the_settings_has_a_range_or_takes_any() {
    // Whole numbers from 0 on, all of which mean something.
    let any = [
        "min_cells",
        "min_genes",
        "adjust_every",
        "n_epochs_kl_warmup",
        "seed",
    ];
    let all = serde_json::to_value(Settings::default()).unwrap();
    let all = all.as_object().unwrap();
    let numbers = all.iter().filter(|(_, v)| v.is_number() || v.is_null());
    let mut numbers: Vec<&str> = numbers.map(|(name, _)| name.as_str()).collect();
    let mut known: Vec<&str> = BROKEN.iter().map(|(name, _)| *name).chain(any).collect();
    numbers.sort_unstable();
    known.sort_unstable();
    assert_eq!(numbers, known);
}

#[test]
fn the_ends_of_the_ranges_are_allowed() {
    let least: Settings = serde_json::from_str(
        r#"{"n_hidden": 1, "n_latent": 1, "dropout_rate": 0, "alpha_min": 1e-9, "alpha_init": 1e-9, "alpha_max": 1e-9,
            "n_al": 0, "n_pl": 0, "n_pw": 0, "q_w": 0, "v_w": 0, "beta": 0, "depth_range": 0, "max_epochs": 1,
            "batch_size": 2, "train_size": 1e-9, "early_stopping_patience": 1, "check_val_every_n_epoch": 1, "lr": 1e-9,
            "eps": 1e-9, "weight_decay": 0, "kl_weight": 0}"#,
    )
    .unwrap();
    least.check().unwrap();
    let most: Settings = serde_json::from_str(
        r#"{"n_hidden": 65536, "n_latent": 1024, "dropout_rate": 0.999, "alpha_min": 1, "alpha_init": 1, "alpha_max": 1,
            "n_al": 1, "n_pl": 1, "n_pw": 1, "q_w": 1, "depth_range": 0.999, "train_size": 1}"#,
    )
    .unwrap();
    most.check().unwrap();
    Settings::default().check().unwrap();
}

#[test]
fn the_default_length_of_training_falls_with_the_number_of_cells() {
    let s = Settings::default();
    assert_eq!([10, 859, 2000].map(|n| s.epochs(n)), [150; 3]);
    assert_eq!(s.epochs(8_000), 75);
    assert_eq!(s.epochs(1_000_000), 40);
    let given = Settings {
        max_epochs: Some(7),
        ..s
    };
    assert_eq!(given.epochs(100), 7);
}
