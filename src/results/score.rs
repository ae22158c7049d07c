//! scScore: how many connections a gene wins, over repeated fits (paper, section 3.2).

use std::sync::{Mutex, PoisonError};

use rand::Rng;

use super::evidence::{gene_evidence, Evidence};
use crate::backend::Backend;
use crate::layers::ConnectionMask;
use crate::model::{Settings, Stopped};
use crate::sampling::{Purpose, Streams};
use crate::training::{side_by_side, train, Monitor, TrainingCells};
use crate::{Error, Result};

/// What one of several fits says of the genes.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredFit {
    /// Which fit it is, from 0.
    pub number: usize,
    /// Connections of each gene, averaged over the masks.
    pub connections: Vec<f64>,
    /// What else the model knows of them.
    pub evidence: Evidence,
}

/// Connections of each gene, averaged over masks.
pub fn mean_connections(masks: &[ConnectionMask]) -> Vec<f64> {
    let n_genes = masks.first().map_or(0, ConnectionMask::n_genes);
    (0..n_genes)
        .map(|g| masks.iter().map(|m| m.n_of_gene(g) as f64).sum::<f64>() / masks.len() as f64)
        .collect()
}

/// The settings of one of several fits, numbered from 0: the first has the seed itself, so that it is the fit that is made
/// without repeats. All have the validation cells of the first.
pub fn settings_of_fit(settings: &Settings, number: usize) -> Settings {
    let mut of_fit = settings.clone();
    if number > 0 {
        let streams = Streams::new(settings.seed);
        of_fit.seed = streams.stream(Purpose::Repeats, number as u32).random();
        of_fit.validation_seed = Some(settings.seed);
    }
    of_fit
}

/// Fits models from independent starts, those of these `numbers` (from 0), side by side, and looks at their genes. A fit is
/// the same whatever others are made beside it. Stops early, with the fits finished so far, when the monitor of a fit asks
/// for it. `monitor` makes the monitor of the fit in this place of `numbers`; `finished` is given every fit that is done,
/// the first that is done first.
///
/// # Errors
/// Those of [`train`], of [`gene_evidence`] and of `finished`; [`Error::Interrupted`] before the first fit is done.
///
/// ```
/// # use scvae::backend::Cpu;
/// # use scvae::batches::Design;
/// # use scvae::counts::filter;
/// # use scvae::model::Settings;
/// # use scvae::training::{Silent, TrainingCells};
/// use scvae::results::repeat_fits;
///
/// # let values = (0..40 * 12).map(|i| (i * i % 7 * ((i / 12 + i) % 2)) as f32).collect();
/// # let genes = (0..40).flat_map(|_cell| 0..12).collect();
/// # let offsets = (0..=40).map(|cell| 12 * cell).collect();
/// # let matrix = scvae::counts::CountMatrix::from_csr(offsets, genes, values, 12)?;
/// # let view = filter(&matrix, 3, 2)?;
/// # let batch: Vec<usize> = (0..view.n_cells()).map(|cell| cell / 2 % 2).collect();
/// # let cells = TrainingCells { view: &view, batch: &batch, design: &Design::single(2) };
/// # let settings = Settings { n_hidden: 16, n_latent: 2, max_epochs: Some(2), ..Settings::default() };
/// let fits = repeat_fits(cells, &settings, &Cpu, &[0, 1], |_| Silent, &mut |_| Ok(()))?;
/// assert_eq!(fits.len(), 2);
/// assert_eq!(fits[0].connections.len(), view.n_genes());
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn repeat_fits<B: Backend, M: Monitor>(
    cells: TrainingCells,
    settings: &Settings,
    backend: &B,
    numbers: &[usize],
    monitor: impl Fn(usize) -> M + Sync,
    finished: &mut (dyn FnMut(&ScoredFit) -> Result<()> + Send),
) -> Result<Vec<ScoredFit>> {
    let finished = Mutex::new(finished);
    let fits = side_by_side(backend, numbers.len(), |place| {
        let settings = settings_of_fit(settings, numbers[place]);
        let fit = scored_fit(cells, &settings, backend, numbers[place], &monitor(place))?;
        // A panic of another fit's ends everything anyway.
        let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished(&fit)?;
        Ok(fit)
    })?;
    let fits: Vec<ScoredFit> = fits.into_iter().flatten().collect();
    if fits.is_empty() && !numbers.is_empty() {
        return Err(Error::Interrupted);
    }
    Ok(fits)
}

fn scored_fit<B: Backend>(
    cells: TrainingCells,
    settings: &Settings,
    backend: &B,
    number: usize,
    monitor: &dyn Monitor,
) -> Result<ScoredFit> {
    let trained = train(cells, settings, backend, monitor)?;
    match trained.history.stopped {
        Stopped::Interrupted => return Err(Error::Interrupted),
        Stopped::Diverged => {
            return Err(Error::Numerical(format!(
                "Fit {} diverged: after epoch {} the loss was no number any more.\nLower lr, which is {}.",
                number + 1,
                trained.history.epochs.len(),
                settings.lr
            )))
        }
        Stopped::Completed | Stopped::EarlyStopping => {}
    }
    let should_stop = || monitor.should_stop();
    Ok(ScoredFit {
        number,
        connections: mean_connections(&trained.model.masks()),
        evidence: gene_evidence(&trained.model, cells.view, cells.batch, &should_stop)?,
    })
}
