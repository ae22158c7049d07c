//! Everything a user can set, with its default and its range.

use serde::{Deserialize, Serialize};

use crate::batches::BatchMeans;
use crate::kernels::Likelihood;
use crate::layers::{AdjustmentRules, CriterionName};
use crate::sampling::{Sampling, Streams};
use crate::{Error, Result};

/// Epochs chosen for small sets.
const MOST_EPOCHS: f64 = 150.0;
/// Epochs chosen for the largest sets.
const FEWEST_EPOCHS: f64 = 40.0;
/// Training cells from which on fewer epochs are chosen.
const MANY_CELLS: f64 = 2000.0;
/// Standard deviation of the heads' weights before anything is seen: by how much a hidden unit, as it varies by one, moves
/// the logarithm of a gene's share.
const WEIGHT_SD: f64 = 0.1;

/// Whether batches have masks of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchMasks {
    /// One mask for all batches, adjusted from all cells: the default, because batches mix better
    /// (`bench/results/ablation.md`).
    Shared,
    /// One mask per batch on shared weights, each adjusted from its batch's cells (paper, appendix A.2.2). All start
    /// equal.
    Separate,
}

/// Settings of the model and of its training. Absent values take the defaults below.
///
/// ```
/// use scvae::model::Settings;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let settings: Settings = serde_json::from_str(r#"{"n_latent": 20, "likelihood": "nb"}"#)?;
/// assert_eq!(settings.n_latent, 20);
/// assert_eq!(settings.n_hidden, Settings::default().n_hidden);
/// settings.check()?;
/// // What is not a setting is refused.
/// assert!(serde_json::from_str::<Settings>(r#"{"n_layers": 2}"#).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Genes detected in fewer cells are dropped.
    pub min_cells: usize,
    /// Cells with fewer detected genes are dropped.
    pub min_genes: usize,
    /// Hidden units.
    pub n_hidden: usize,
    /// Latent dimensions.
    pub n_latent: usize,
    /// Distribution of the counts.
    pub likelihood: Likelihood,
    /// Whether a fully connected layer follows the encoder's sparsely connected one.
    pub fc_layer: bool,
    /// Share of hidden units silenced at random in training, in the encoder.
    pub dropout_rate: f64,
    /// What the adjustment of the connections goes by.
    pub criterion: CriterionName,
    /// See [`AdjustmentRules::alpha_init`].
    pub alpha_init: f64,
    /// See [`AdjustmentRules::alpha_min`].
    pub alpha_min: f64,
    /// See [`AdjustmentRules::alpha_max`].
    pub alpha_max: f64,
    /// See [`AdjustmentRules::n_al`].
    pub n_al: f64,
    /// See [`AdjustmentRules::n_pl`].
    pub n_pl: f64,
    /// See [`AdjustmentRules::n_pw`].
    pub n_pw: f64,
    /// See [`AdjustmentRules::q_w`].
    pub q_w: f64,
    /// See [`AdjustmentRules::v_w`].
    pub v_w: f64,
    /// Epochs between two adjustments of the connections; 0 = never.
    pub adjust_every: usize,
    /// Masks per batch or one for all.
    pub batch_masks: BatchMasks,
    /// Whether the scale head has offsets per gene and level of a covariate, and the encoder's input is centred by batch.
    pub batch_offsets: bool,
    /// What these start from.
    pub batch_means: BatchMeans,
    /// Weight of the batchified modules' correction.
    pub beta: f64,
    /// Depth factors are uniform in `1 - depth_range ..= 1 + depth_range`.
    pub depth_range: f64,
    /// How cells are drawn.
    pub sampling: Sampling,
    /// Epochs; `None` chooses by the number of cells, see [`Settings::epochs`].
    pub max_epochs: Option<usize>,
    /// Cells of a mini-batch.
    pub batch_size: usize,
    /// Share of the cells that train; the others validate.
    pub train_size: f64,
    /// Whether to stop when the validation loss stops falling, and to return the best model.
    pub early_stopping: bool,
    /// Checks without progress after which to stop.
    pub early_stopping_patience: usize,
    /// Epochs between two looks at the validation cells.
    pub check_val_every_n_epoch: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's epsilon.
    pub eps: f64,
    /// Weight decay of the heads' weights (L2, inside Adam as in torch's `Adam`); `None` = see [`Settings::weight_decay`].
    pub weight_decay: Option<f64>,
    /// Weight of the KL term after its warm-up.
    pub kl_weight: f64,
    /// Epochs over which that weight rises from 0; `None` = see [`Settings::kl_warmup`].
    pub n_epochs_kl_warmup: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
    /// Seed of which cells validate and of the noise they are looked at with, where several fits are to be compared by these;
    /// `None` = `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_seed: Option<u64>,
    /// Threads to use; no property of the model, so not saved with it.
    #[serde(skip_serializing)]
    pub threads: usize,
    /// `cpu`, `cuda` or `auto`.
    pub device: String,
}

impl Default for Settings {
    fn default() -> Self {
        let rules = AdjustmentRules::default();
        Settings {
            min_cells: 3,
            min_genes: 200,
            n_hidden: 128,
            n_latent: 10,
            likelihood: Likelihood::Zinb,
            fc_layer: true,
            dropout_rate: 0.0,
            criterion: CriterionName::Deviance,
            alpha_init: rules.alpha_init,
            alpha_min: rules.alpha_min,
            alpha_max: rules.alpha_max,
            n_al: rules.n_al,
            n_pl: rules.n_pl,
            n_pw: rules.n_pw,
            q_w: rules.q_w,
            v_w: rules.v_w,
            adjust_every: 1,
            batch_masks: BatchMasks::Shared,
            batch_offsets: true,
            batch_means: BatchMeans::Matched,
            beta: 0.2,
            depth_range: 0.02,
            sampling: Sampling::Replacement,
            max_epochs: None,
            batch_size: 128,
            train_size: 0.9,
            early_stopping: false,
            early_stopping_patience: 45,
            check_val_every_n_epoch: 1,
            lr: 1e-3,
            eps: 0.01,
            weight_decay: None,
            kl_weight: 1.0,
            n_epochs_kl_warmup: None,
            seed: 0,
            validation_seed: None,
            threads: 1,
            device: "auto".into(),
        }
    }
}

impl Settings {
    /// The constants of the connection adjustment.
    pub fn adjustment_rules(&self) -> AdjustmentRules {
        AdjustmentRules {
            alpha_init: self.alpha_init,
            alpha_min: self.alpha_min,
            alpha_max: self.alpha_max,
            n_al: self.n_al,
            n_pl: self.n_pl,
            n_pw: self.n_pw,
            q_w: self.q_w,
            v_w: self.v_w,
        }
    }

    /// Where the validation's random numbers come from.
    pub fn validation_streams(&self) -> Streams {
        Streams::new(self.validation_seed.unwrap_or(self.seed))
    }

    /// Epochs to train for `n_train` cells: as given, or 150 up to 2,000 cells and from there on fewer, in proportion
    /// to one over the square root of their number, but never below 40, so that genes can reach their bounds.
    /// Measured in `bench/results/ablation.md`.
    pub fn epochs(&self, n_train: usize) -> usize {
        self.max_epochs.unwrap_or_else(|| {
            let fewer = (MANY_CELLS / n_train.max(1) as f64).sqrt().min(1.0);
            (MOST_EPOCHS * fewer).round().max(FEWEST_EPOCHS) as usize
        })
    }

    /// Epochs of the KL term's warm-up when training takes `epochs`: as given, or all of them.
    pub fn kl_warmup(&self, epochs: usize) -> usize {
        self.n_epochs_kl_warmup.unwrap_or(epochs)
    }

    /// Weight decay of the heads' weights when `n_train` cells train: as given, or that under which training finds the most
    /// probable weights if they are normal around zero beforehand, with a standard deviation of .1. The likelihood's
    /// gradient is a mean over cells, so the more cells there are the less this counts. Measured in
    /// `bench/results/ablation.md`.
    pub fn weight_decay(&self, n_train: usize) -> f64 {
        let prior = 1.0 / (WEIGHT_SD * WEIGHT_SD * n_train.max(1) as f64);
        self.weight_decay.unwrap_or(prior)
    }

    /// Weight of the KL term in an epoch, from 1, with a warm-up of so many epochs: 0 in the first, [`Settings::kl_weight`]
    /// after the last of them.
    pub fn kl_weight_at(&self, epoch: usize, warmup: usize) -> f64 {
        let share = match warmup {
            0 => 1.0,
            _ => ((epoch - 1) as f64 / warmup as f64).min(1.0),
        };
        self.kl_weight * share
    }

    /// Checks every value's range.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first setting out of range, its value and the range.
    pub fn check(&self) -> Result<()> {
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let rules: [(&str, bool, String, &str); 22] = [
            (
                "n_hidden",
                (1..=65536).contains(&self.n_hidden),
                self.n_hidden.to_string(),
                "between 1 and 65536",
            ),
            (
                "n_latent",
                (1..=1024).contains(&self.n_latent),
                self.n_latent.to_string(),
                "between 1 and 1024",
            ),
            (
                "dropout_rate",
                (0.0..1.0).contains(&self.dropout_rate),
                self.dropout_rate.to_string(),
                "at least 0 and below 1",
            ),
            (
                "alpha_min",
                self.alpha_min > 0.0 && self.alpha_min <= self.alpha_init,
                self.alpha_min.to_string(),
                "above 0 and at most alpha_init",
            ),
            (
                "alpha_init",
                self.alpha_init <= self.alpha_max,
                self.alpha_init.to_string(),
                "at most alpha_max",
            ),
            (
                "alpha_max",
                self.alpha_max <= 1.0,
                self.alpha_max.to_string(),
                "at most 1",
            ),
            (
                "n_al",
                share(self.n_al),
                self.n_al.to_string(),
                "a share of the genes, between 0 and 1",
            ),
            (
                "n_pl",
                share(self.n_pl),
                self.n_pl.to_string(),
                "a share of the genes, between 0 and 1",
            ),
            (
                "n_pw",
                share(self.n_pw),
                self.n_pw.to_string(),
                "a share of the genes, between 0 and 1",
            ),
            (
                "q_w",
                share(self.q_w),
                self.q_w.to_string(),
                "between 0 and 1",
            ),
            (
                "v_w",
                self.v_w >= 0.0 && self.v_w.is_finite(),
                self.v_w.to_string(),
                "0 or above",
            ),
            (
                "beta",
                self.beta.is_finite(),
                self.beta.to_string(),
                "a finite number",
            ),
            (
                "depth_range",
                (0.0..1.0).contains(&self.depth_range),
                self.depth_range.to_string(),
                "at least 0 and below 1",
            ),
            (
                "max_epochs",
                self.max_epochs != Some(0),
                "0".into(),
                "1 or more",
            ),
            (
                "batch_size",
                self.batch_size >= 2,
                self.batch_size.to_string(),
                "2 or more",
            ),
            (
                "train_size",
                self.train_size > 0.0 && self.train_size <= 1.0,
                self.train_size.to_string(),
                "above 0 and at most 1",
            ),
            (
                "early_stopping_patience",
                self.early_stopping_patience > 0,
                "0".into(),
                "1 or more",
            ),
            (
                "check_val_every_n_epoch",
                self.check_val_every_n_epoch > 0,
                "0".into(),
                "1 or more",
            ),
            (
                "lr",
                self.lr > 0.0 && self.lr.is_finite(),
                self.lr.to_string(),
                "above 0",
            ),
            (
                "eps",
                self.eps > 0.0 && self.eps.is_finite(),
                self.eps.to_string(),
                "above 0",
            ),
            (
                "weight_decay",
                self.weight_decay
                    .is_none_or(|decay| decay >= 0.0 && decay.is_finite()),
                self.weight_decay.map_or("none".into(), |x| x.to_string()),
                "0 or above",
            ),
            (
                "kl_weight",
                self.kl_weight >= 0.0 && self.kl_weight.is_finite(),
                self.kl_weight.to_string(),
                "0 or above",
            ),
        ];
        for (name, holds, value, range) in rules {
            if !holds {
                return Err(Error::Argument(format!(
                    "{name} must be {range}, not {value}"
                )));
            }
        }
        if self.early_stopping && self.train_size >= 1.0 {
            return Err(Error::Argument(
                "early_stopping needs validation cells: give a train_size below 1".into(),
            ));
        }
        Ok(())
    }
}
