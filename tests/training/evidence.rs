//! What a model knows of its genes, against the definitions worked out cell by cell.

use scvae::counts::{filter, CountsView};
use scvae::model::Settings;
use scvae::results::{gene_evidence, reconstruct, Evidence, Output, Reconstruction};
use scvae::training::Trained;

use crate::simulated::{dense, fit, settings, simulated, N_TYPES};

const N_CELLS: usize = 300;
const N_GENES: usize = 60;

fn learned() -> Settings {
    Settings {
        max_epochs: Some(60),
        lr: 5e-3,
        ..settings()
    }
}

/// Counts and fitted values, genes x cells.
struct Table {
    counts: Vec<Vec<f64>>,
    scale: Vec<Vec<f64>>,
    kept: Vec<Vec<f64>>,
    library: Vec<f64>,
    batch: Vec<usize>,
}

impl Table {
    fn of(view: &CountsView, batch: &[usize], trained: &Trained<scvae::backend::Cpu>) -> Self {
        let genes: Vec<usize> = (0..view.n_genes()).collect();
        let values = |output| {
            let how = Reconstruction {
                genes: &genes,
                batch,
                style: &[],
                library: None,
                output,
            };
            let values = reconstruct(&trained.model, view, &how, &|| false).unwrap();
            values.rows().into_iter().map(|row| row.to_vec()).collect()
        };
        let dropout: Vec<Vec<f64>> = values(Output::Dropout);
        Table {
            counts: dense(view)
                .into_iter()
                .map(|row| row.into_iter().map(f64::from).collect())
                .collect(),
            scale: values(Output::Scale),
            kept: dropout
                .iter()
                .map(|row| row.iter().map(|p| 1.0 - p).collect())
                .collect(),
            library: (0..view.n_cells()).map(|cell| view.library(cell)).collect(),
            batch: batch.to_vec(),
        }
    }

    fn of_batch(&self, b: usize) -> Vec<usize> {
        (0..self.library.len())
            .filter(|&cell| self.batch[cell] == b)
            .collect()
    }

    /// Means that fit a total, in proportion to `share` of the library.
    fn means(&self, gene: usize, cells: &[usize], share: &dyn Fn(usize) -> f64) -> Vec<f64> {
        let total: f64 = cells.iter().map(|&cell| self.counts[gene][cell]).sum();
        let weight = |cell: usize| share(cell) * self.library[cell];
        let weights: f64 = cells.iter().map(|&cell| weight(cell)).sum();
        cells
            .iter()
            .map(|&cell| total * weight(cell) / weights)
            .collect()
    }

    /// Poisson deviance of counts from means that have the same total.
    fn deviance(&self, gene: usize, cells: &[usize], means: &[f64]) -> f64 {
        let of_cell = |(&cell, mean): (&usize, &f64)| match self.counts[gene][cell] {
            0.0 => 2.0 * mean,
            x => 2.0 * (x * (x / mean).ln() - (x - mean)),
        };
        cells.iter().zip(means).map(of_cell).sum()
    }

    fn expected(&self, gene: usize, cell: usize) -> f64 {
        self.scale[gene][cell] * self.kept[gene][cell]
    }

    fn explained(&self, gene: usize) -> f64 {
        let (mut before, mut after) = (0.0, 0.0);
        for cells in [self.of_batch(0), self.of_batch(1)] {
            let flat = self.means(gene, &cells, &|_| 1.0);
            before += self.deviance(gene, &cells, &flat);
            let fitted = self.means(gene, &cells, &|cell| self.expected(gene, cell));
            after += self.deviance(gene, &cells, &fitted);
        }
        1.0 - after / before
    }

    fn signal(&self, gene: usize) -> f64 {
        let mut sorted = self.library.clone();
        sorted.sort_by(f64::total_cmp);
        let median = (sorted[sorted.len() / 2 - 1] + sorted[sorted.len() / 2]) / 2.0;
        let (mut variation, mut sum) = (0.0, 0.0);
        for cells in [self.of_batch(0), self.of_batch(1)] {
            let rates: Vec<f64> = cells
                .iter()
                .map(|&c| median * self.scale[gene][c])
                .collect();
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            variation += rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
            sum += rates.iter().sum::<f64>();
        }
        variation / sum
    }

    fn statistic(&self, gene: usize) -> f64 {
        let (mut score, mut variance) = (0.0, 0.0);
        for b in 0..2 {
            let mut cells = self.of_batch(b);
            cells.sort_by(|&x, &y| self.library[x].total_cmp(&self.library[y]));
            let n_strata = cells.len() / 40;
            for s in 0..n_strata {
                let stratum = &cells[s * cells.len() / n_strata..(s + 1) * cells.len() / n_strata];
                let means = self.means(gene, stratum, &|_| 1.0);
                let logs: Vec<f64> = stratum
                    .iter()
                    .map(|&c| self.expected(gene, c).ln())
                    .collect();
                let weight: f64 = stratum.iter().map(|&c| self.library[c]).sum();
                let weighted = stratum.iter().zip(&logs).map(|(&c, l)| self.library[c] * l);
                let centre = weighted.sum::<f64>() / weight;
                for ((&cell, mean), log) in stratum.iter().zip(&means).zip(&logs) {
                    let product = (self.counts[gene][cell] - mean) * (log - centre);
                    score += product;
                    variance += product * product;
                }
            }
        }
        score / variance.sqrt()
    }
}

fn fitted() -> (Evidence, Table) {
    let (matrix, batch) = simulated(N_CELLS, N_GENES, 21);
    let view = filter(&matrix, 3, 1).unwrap();
    assert_eq!((view.n_cells(), view.n_genes()), (N_CELLS, N_GENES));
    let trained = fit(&view, &batch, &learned());
    let evidence = gene_evidence(&trained.model, &view, &batch, &|| false).unwrap();
    let table = Table::of(&view, &batch, &trained);
    (evidence, table)
}

#[test]
fn evidence_is_what_its_definitions_say() {
    let (evidence, table) = fitted();
    let close = |x: f64, y: f64| (x - y).abs() < 1e-4 * (1.0 + y.abs());
    for gene in 0..N_GENES {
        let total: f64 = table.counts[gene].iter().sum();
        let found = table.counts[gene].iter().filter(|&&x| x > 0.0).count();
        assert!(close(evidence.mean[gene], total / N_CELLS as f64));
        assert!(close(
            evidence.detected[gene],
            found as f64 / N_CELLS as f64
        ));
        for (found, expected) in [
            (evidence.explained[gene], table.explained(gene)),
            (evidence.signal[gene], table.signal(gene)),
            (evidence.statistic[gene], table.statistic(gene)),
        ] {
            assert!(close(found, expected), "gene {gene}: {found}, {expected}");
        }
    }
}

#[test]
fn genes_of_types_stand_out_and_batches_agree_on_them() {
    let (evidence, _) = fitted();
    let least = |values: &[f64]| {
        let of_types = values[..N_GENES / 2].iter();
        of_types.copied().fold(f64::INFINITY, f64::min)
    };
    let most = |values: &[f64]| {
        let others = values[N_GENES / 2..].iter();
        others.copied().fold(f64::NEG_INFINITY, f64::max)
    };
    assert!(least(&evidence.explained) > most(&evidence.explained));
    assert!(least(&evidence.statistic) > most(&evidence.statistic));
    assert_eq!(N_TYPES, 3);
    assert!(evidence.agreement.iter().all(|a| (0.0..=1.0).contains(a)));
    let mean = evidence.agreement.iter().sum::<f64>() / N_GENES as f64;
    // Places drawn at random would differ by a third on average, which makes 2/3.
    assert!(mean > 0.8, "{mean}");
}

#[test]
fn a_single_batch_cannot_agree() {
    let (matrix, _) = simulated(90, 40, 3);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch = vec![0; view.n_cells()];
    let trained = fit(&view, &batch, &settings());
    let evidence = gene_evidence(&trained.model, &view, &batch, &|| false).unwrap();
    assert!(evidence.agreement.iter().all(|a| a.is_nan()));
    let stopped = gene_evidence(&trained.model, &view, &batch, &|| true);
    assert!(matches!(stopped, Err(scvae::Error::Interrupted)));
}
