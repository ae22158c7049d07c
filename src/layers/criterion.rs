//! What the connection adjustment goes by: how much a gene has need of connections (paper, appendix A.2.1).

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::kernels::GeneStatistic;

/// What training knows of the genes since the last adjustment.
#[derive(Debug, Clone, Copy)]
pub struct GeneSums<'a> {
    /// Which sums.
    pub statistics: &'a [GeneStatistic],
    /// Statistics x genes.
    pub values: &'a [f64],
    /// Cells that they are summed over.
    pub n_cells: f64,
    /// Log of `px_r`, one per gene; `None` for distributions without a dispersion.
    pub log_theta: Option<&'a [f32]>,
}

impl GeneSums<'_> {
    /// One of the sums, by gene; nothing if it was not taken.
    fn of(&self, statistic: GeneStatistic) -> &[f64] {
        let n_genes = self.values.len() / self.statistics.len().max(1);
        let place = self.statistics.iter().position(|&s| s == statistic);
        place.map_or(&[], |place| &self.values[place * n_genes..][..n_genes])
    }
}

/// Says how much need of connections each gene has: genes with high values gain connections, genes with low ones lose
/// them.
pub trait Criterion: Debug + Sync {
    /// The sums that it is worked out from.
    fn statistics(&self) -> &'static [GeneStatistic];

    /// Whether [`GeneStatistic::LogShare`] is to be what the gene's log-share is beyond the log of the share that it has of
    /// all counts of the cell's batch.
    fn beyond_batch(&self) -> bool {
        false
    }

    /// One value per gene; only their order matters.
    fn need(&self, sums: &GeneSums) -> Vec<f64>;
}

/// The criteria to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CriterionName {
    /// [`SquaredError`]
    Mse,
    /// [`LogSquaredError`]
    LogMse,
    /// [`RelativeError`]
    RelativeMse,
    /// [`RateDispersion`]
    Dispersion,
    /// [`ExplainedDeviance`]
    Deviance,
}

impl CriterionName {
    /// The criterion of this name.
    pub fn criterion(self) -> &'static dyn Criterion {
        match self {
            CriterionName::Mse => &SquaredError,
            CriterionName::LogMse => &LogSquaredError,
            CriterionName::RelativeMse => &RelativeError,
            CriterionName::Dispersion => &RateDispersion,
            CriterionName::Deviance => &ExplainedDeviance,
        }
    }
}

/// The paper's: the mean squared error of the expected count. It follows how much a gene is expressed.
#[derive(Debug, Clone, Copy)]
pub struct SquaredError;

impl Criterion for SquaredError {
    fn statistics(&self) -> &'static [GeneStatistic] {
        &[GeneStatistic::SquaredError]
    }

    fn need(&self, sums: &GeneSums) -> Vec<f64> {
        means(sums.of(GeneStatistic::SquaredError), sums.n_cells)
    }
}

/// The mean squared error of `ln(1 + count)`.
#[derive(Debug, Clone, Copy)]
pub struct LogSquaredError;

impl Criterion for LogSquaredError {
    fn statistics(&self) -> &'static [GeneStatistic] {
        &[GeneStatistic::LogSquaredError]
    }

    fn need(&self, sums: &GeneSums) -> Vec<f64> {
        means(sums.of(GeneStatistic::LogSquaredError), sums.n_cells)
    }
}

/// The squared error over the variance that the model expects of the gene, `E[x] + E[x]^2 / px_r`: above one where the
/// model explains less than it could.
#[derive(Debug, Clone, Copy)]
pub struct RelativeError;

impl Criterion for RelativeError {
    fn statistics(&self) -> &'static [GeneStatistic] {
        &[
            GeneStatistic::SquaredError,
            GeneStatistic::Expected,
            GeneStatistic::SquaredExpected,
        ]
    }

    fn need(&self, sums: &GeneSums) -> Vec<f64> {
        let errors = sums.of(GeneStatistic::SquaredError).iter();
        let expected = sums.of(GeneStatistic::Expected).iter();
        let squared = sums.of(GeneStatistic::SquaredExpected).iter();
        let of_genes = errors.zip(expected).zip(squared).enumerate();
        let need = of_genes.map(|(gene, ((error, expected), squared))| {
            let log_theta = sums.log_theta.map(|t| f64::from(t[gene]));
            let beyond = log_theta.map_or(0.0, |t| squared * (-t).exp());
            quotient(*error, expected + beyond)
        });
        need.collect()
    }
}

/// How much the fitted rate `px_scale` differs between cells: its variance over its mean, within batches. High where the
/// model tells cells apart by the gene.
#[derive(Debug, Clone, Copy)]
pub struct RateDispersion;

impl Criterion for RateDispersion {
    fn statistics(&self) -> &'static [GeneStatistic] {
        &[GeneStatistic::Share, GeneStatistic::ShareVariation]
    }

    fn need(&self, sums: &GeneSums) -> Vec<f64> {
        let shares = sums.of(GeneStatistic::Share).iter();
        let variations = sums.of(GeneStatistic::ShareVariation).iter();
        variations
            .zip(shares)
            .map(|(&variation, &share)| quotient(variation, share))
            .collect()
    }
}

/// By how much the fitted rates explain the gene's counts better than a rate that is the same for all cells of a batch:
/// half of the Poisson deviance that they take away.
#[derive(Debug, Clone, Copy)]
pub struct ExplainedDeviance;

impl Criterion for ExplainedDeviance {
    fn statistics(&self) -> &'static [GeneStatistic] {
        &[
            GeneStatistic::Count,
            GeneStatistic::LogShare,
            GeneStatistic::Rate,
        ]
    }

    fn beyond_batch(&self) -> bool {
        true
    }

    fn need(&self, sums: &GeneSums) -> Vec<f64> {
        let counts = sums.of(GeneStatistic::Count).iter();
        let log_shares = sums.of(GeneStatistic::LogShare).iter();
        let rates = sums.of(GeneStatistic::Rate).iter();
        let of_genes = counts.zip(log_shares).zip(rates);
        of_genes
            .map(|((count, log_share), rate)| log_share - (rate - count))
            .collect()
    }
}

fn means(sums: &[f64], n_cells: f64) -> Vec<f64> {
    sums.iter().map(|sum| sum / n_cells.max(1.0)).collect()
}

/// 0 for a gene without a count.
fn quotient(above: f64, below: f64) -> f64 {
    match below > 0.0 {
        true => above / below,
        false => 0.0,
    }
}
