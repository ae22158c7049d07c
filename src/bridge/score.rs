//! Repeated fits for scScore.

use std::path::Path;

use extendr_api::prelude::*;

use super::convert::{self, to_r, Counts};
use super::run::{off_thread, FitMonitor, FitPlace, Reporter};
use crate::backend::{check_device, on_device, Backend, OnDevice};
use crate::counts::{filter, CountMatrix, CountsView};
use crate::model::Settings;
use crate::results::{n_null_copies, null_copies, repeat_fits, BesideNull, ScoredFit};
use crate::sampling::Streams;
use crate::saved::{Fingerprint, ScoreFolder, ScoreOrigin};
use crate::training::{check_batch_sizes, TrainingCells};
use crate::Result;

/// Repeated fits, without the counts.
struct Plan {
    settings: Settings,
    batches: convert::Batches,
    gene_names: Vec<String>,
    /// The fits to make, from 0.
    numbers: Vec<usize>,
    /// Whether null copies of genes are trained beside the genes.
    with_null: bool,
    folder: Option<String>,
}

struct Scored {
    genes: Vec<usize>,
    /// The gene, among those that the filter kept, that each null copy was made of.
    sources: Vec<usize>,
    fits: Vec<ScoredFit>,
}

/// Fits models and looks at their genes. `numbers` says which of the fits of this seed to make, from 1. `null`: with null
/// copies of genes, which come after the genes in what is returned. `checkpoint` is a folder that keeps the fits that are
/// done, or `NULL`; what is there is not made again.
/// @noRd
#[extendr]
#[allow(clippy::too_many_arguments)]
pub fn rs_score(
    counts: Robj,
    gene_names: Robj,
    batch: List,
    settings: List,
    numbers: Robj,
    null: bool,
    checkpoint: Option<String>,
    progress: Robj,
) -> extendr_api::Result<List> {
    let scored = || -> Result<_> {
        let numbers = convert::integers(&numbers, "numbers")?;
        let plan = Plan {
            settings: convert::settings(&settings)?,
            batches: convert::batches(&batch)?,
            gene_names: convert::names(&gene_names),
            numbers: convert::from_one(numbers, i32::MAX as usize, "numbers")?,
            with_null: null,
            folder: checkpoint,
        };
        check_device(&plan.settings.device)?;
        Counts::from_r(&counts)?.with(|matrix| {
            off_thread(plan.settings.threads, &progress, |reporter| {
                score(matrix, &plan, reporter)
            })
        })
    };
    let (scored, interrupted) = scored().map_err(to_r)?;
    let fits = &scored.fits;
    let numbers: Vec<usize> = fits.iter().map(|fit| fit.number).collect();
    let columns = fits.iter().map(|fit| &fit.connections[..]).collect();
    let mut values = vec![("connections", convert::columns(columns))];
    let names = fits
        .first()
        .map(|fit| fit.evidence.columns().map(|(name, _)| name));
    for (place, name) in names.into_iter().flatten().enumerate() {
        let columns = fits.iter().map(|fit| fit.evidence.columns()[place].1);
        values.push((name, convert::columns(columns.collect())));
    }
    Ok(list!(
        genes = convert::one_based(&scored.genes),
        sources = convert::one_based(&scored.sources),
        numbers = convert::one_based(&numbers),
        values = List::from_pairs(values),
        interrupted = interrupted
    ))
}

/// The seed of the repeated fits that a folder keeps, `NULL` if it keeps none.
/// @noRd
#[extendr]
pub fn rs_score_seed(checkpoint: &str) -> extendr_api::Result<Robj> {
    let seed = ScoreFolder::seed(Path::new(checkpoint)).map_err(to_r)?;
    Ok(seed.map_or(().into(), |seed| (seed as f64).into()))
}

/// Which fits, by number from 1, a folder keeps.
/// @noRd
#[extendr]
pub fn rs_scored(checkpoint: &str, numbers: Robj) -> extendr_api::Result<Vec<bool>> {
    let numbers = convert::integers(&numbers, "numbers").map_err(to_r)?;
    let file =
        |&number: &i32| ScoreFolder::file(Path::new(checkpoint), (number.max(1) - 1) as usize);
    Ok(numbers.iter().map(|number| file(number).exists()).collect())
}

/// How likely genes without structure reach as much as each gene, by what null copies reach. `sources` is the gene of each
/// copy, from 1.
/// @noRd
#[extendr]
pub fn rs_null_p_values(
    genes: &[f64],
    mean: &[f64],
    copies: &[f64],
    sources: Robj,
) -> extendr_api::Result<Vec<f64>> {
    let p_values = || -> Result<Vec<f64>> {
        let sources = convert::integers(&sources, "sources")?;
        let sources = convert::from_one(sources, mean.len(), "sources")?;
        let beside = BesideNull {
            genes,
            mean,
            copies,
            sources: &sources,
        };
        Ok(beside.p_values())
    };
    p_values().map_err(to_r)
}

fn score(matrix: &CountMatrix, plan: &Plan, reporter: &Reporter) -> Result<Scored> {
    let (settings, batches) = (&plan.settings, &plan.batches);
    let codes = batches.codes(matrix.n_cells())?;
    let view = filter(matrix, settings.min_cells, settings.min_genes)?;
    let codes: Vec<usize> = view.cells().iter().map(|&c| codes[c]).collect();
    check_batch_sizes(&codes, &batches.names)?;
    let should_stop = || reporter.interrupts() > 0;
    let folder = plan.folder.as_ref().map(|path| ScoreFolder {
        path: path.into(),
        origin: origin(plan, &view, &codes),
    });
    let copies = match plan.with_null {
        false => None,
        true => {
            let (n_batches, streams) = (batches.design.n_batches(), Streams::new(settings.seed));
            let n_copies = n_null_copies(view.n_genes());
            Some(null_copies(
                &view,
                &codes,
                n_batches,
                n_copies,
                streams,
                &should_stop,
            )?)
        }
    };
    let with_copies = copies.as_ref().map(|copies| copies.view()).transpose()?;
    let cells = TrainingCells {
        view: with_copies.as_ref().unwrap_or(&view),
        batch: &codes,
        design: &batches.design,
    };
    let mut fits = known_fits(folder.as_ref(), &plan.numbers)?;
    let is_missing = |number: &usize| fits.iter().all(|fit| fit.number != *number);
    let missing: Vec<usize> = plan.numbers.iter().copied().filter(is_missing).collect();
    let n_known = plan.numbers.len() - missing.len();
    let work = MissingFits {
        cells,
        plan,
        missing: &missing,
        folder: folder.as_ref(),
        reporter,
    };
    match on_device(&settings.device, work) {
        // What is known already is worth having.
        Err(crate::Error::Interrupted) if n_known > 0 => {}
        made => fits.extend(made?),
    }
    fits.sort_by_key(|fit| fit.number);
    Ok(Scored {
        genes: view.genes(),
        sources: copies.map_or_else(Vec::new, |copies| copies.sources),
        fits,
    })
}

/// Fits that no folder keeps yet.
struct MissingFits<'a> {
    cells: TrainingCells<'a>,
    plan: &'a Plan,
    missing: &'a [usize],
    folder: Option<&'a ScoreFolder>,
    reporter: &'a Reporter,
}

impl OnDevice for MissingFits<'_> {
    type Output = Vec<ScoredFit>;

    fn run<B: Backend>(self, backend: &B) -> Result<Vec<ScoredFit>> {
        let n_fits = self.plan.numbers.len();
        let fits_before = n_fits - self.missing.len();
        let monitor = |place| FitMonitor {
            reporter: self.reporter,
            place: FitPlace {
                fit: fits_before + place,
                n_fits,
                fits_before,
                epochs_before: 0,
            },
        };
        let mut keep = |fit: &ScoredFit| self.folder.map_or(Ok(()), |folder| folder.write(fit));
        let settings = &self.plan.settings;
        repeat_fits(
            self.cells,
            settings,
            backend,
            self.missing,
            monitor,
            &mut keep,
        )
    }
}

fn origin(plan: &Plan, view: &CountsView, codes: &[usize]) -> ScoreOrigin {
    let genes = view.genes();
    let of_gene = |&gene: &usize| plan.gene_names.get(gene).cloned();
    let kept_names: Vec<String> = genes.iter().filter_map(of_gene).collect();
    ScoreOrigin {
        settings: plan.settings.clone(),
        fingerprint: Fingerprint::of(view, codes, &kept_names),
        n_copies: if plan.with_null {
            n_null_copies(view.n_genes())
        } else {
            0
        },
    }
}

fn known_fits(folder: Option<&ScoreFolder>, numbers: &[usize]) -> Result<Vec<ScoredFit>> {
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let known = numbers.iter().map(|&number| folder.read(number));
    Ok(known
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

extendr_module! {
    mod score;
    fn rs_score;
    fn rs_score_seed;
    fn rs_scored;
    fn rs_null_p_values;
}
