//! scScore: how many connections a gene wins, over repeated fits (paper, section 3.2).

use ndarray::Array2;
use rand::Rng;

use crate::counts::CountsView;
use crate::layers::ConnectionMask;
use crate::model::Design;
use crate::model::{Settings, Stopped};
use crate::sampling::{Purpose, Streams};
use crate::training::{train, Monitor};
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

/// Fits `n_repeats` models from independent starts and counts their genes' connections. Stops early, with the fits
/// finished so far, when the monitor of a fit asks for it. `monitor` makes the monitor of fit number `i`, from 0.
///
/// # Errors
/// Those of [`train`].
pub fn repeat_fits<M: Monitor>(
    view: &CountsView,
    batch: &[usize],
    design: &Design,
    settings: &Settings,
    n_repeats: usize,
    monitor: impl Fn(usize) -> M,
) -> Result<Repeats> {
    let streams = Streams::new(settings.seed);
    let mut columns: Vec<Vec<f64>> = Vec::with_capacity(n_repeats);
    for repeat in 0..n_repeats {
        let settings = Settings {
            seed: streams.stream(Purpose::Repeats, repeat as u32).random(),
            ..settings.clone()
        };
        let trained = match train(view, batch, design, &settings, &monitor(repeat)) {
            Err(Error::Interrupted) if repeat > 0 => break,
            trained => trained?,
        };
        if trained.history.stopped == Stopped::Interrupted {
            break;
        }
        columns.push(mean_connections(&trained.model.masks()));
    }
    let connections =
        Array2::from_shape_fn((view.n_genes(), columns.len()), |(g, r)| columns[r][g]);
    Ok(Repeats { connections })
}
