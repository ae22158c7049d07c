//! scScore: how many connections a gene wins, over repeated fits (paper, section 3.2).

use ndarray::Array2;
use rand::Rng;

use crate::backend::Backend;
use crate::layers::ConnectionMask;
use crate::model::{Settings, Stopped};
use crate::sampling::{Purpose, Streams};
use crate::training::{train, Monitor, TrainingCells};
use crate::{Error, Result};

/// Connections of each gene after each of several fits.
pub struct Repeats {
    /// Genes x fits: connections of the gene, averaged over the masks.
    pub connections: Array2<f64>,
}

/// Connections of each gene, averaged over masks.
pub fn mean_connections(masks: &[ConnectionMask]) -> Vec<f64> {
    let n_genes = masks.first().map_or(0, ConnectionMask::n_genes);
    (0..n_genes)
        .map(|g| masks.iter().map(|m| m.n_of_gene(g) as f64).sum::<f64>() / masks.len() as f64)
        .collect()
}

/// Fits `n_repeats` models from independent starts and counts their genes' connections. `done` are those of the first
/// fits, if they were made before. Stops early, with the fits finished so far, when the monitor of a fit asks for it.
/// `monitor` makes the monitor of fit number `i`, from 0; `finished` is given the connections after every fit.
///
/// # Errors
/// Those of [`train`], and of `finished`.
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
/// let repeats = repeat_fits(cells, &settings, &Cpu, 2, Vec::new(), |_| Silent, &|_| Ok(()))?;
/// assert_eq!(repeats.connections.dim(), (view.n_genes(), 2));
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn repeat_fits<B: Backend, M: Monitor>(
    cells: TrainingCells,
    settings: &Settings,
    backend: &B,
    n_repeats: usize,
    done: Vec<Vec<f64>>,
    monitor: impl Fn(usize) -> M,
    finished: &dyn Fn(&[Vec<f64>]) -> Result<()>,
) -> Result<Repeats> {
    let streams = Streams::new(settings.seed);
    let mut columns = done;
    columns.truncate(n_repeats);
    for repeat in columns.len()..n_repeats {
        let settings = Settings {
            seed: streams.stream(Purpose::Repeats, repeat as u32).random(),
            ..settings.clone()
        };
        let trained = match train(cells, &settings, backend, &monitor(repeat)) {
            Err(Error::Interrupted) if !columns.is_empty() => break,
            trained => trained?,
        };
        match trained.history.stopped {
            Stopped::Interrupted => break,
            Stopped::Diverged => {
                return Err(Error::Numerical(format!(
                    "Fit {} of {n_repeats} diverged: after epoch {} the loss was no number any more.\nLower lr, which is {}.",
                    repeat + 1,
                    trained.history.epochs.len(),
                    settings.lr
                )))
            }
            Stopped::Completed | Stopped::EarlyStopping => {}
        }
        columns.push(mean_connections(&trained.model.masks()));
        finished(&columns)?;
    }
    if columns.is_empty() {
        return Err(Error::Interrupted);
    }
    let shape = (cells.view.n_genes(), columns.len());
    let connections = Array2::from_shape_fn(shape, |(g, r)| columns[r][g]);
    Ok(Repeats { connections })
}
