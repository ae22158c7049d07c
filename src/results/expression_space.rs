//! Expression space: principal components of the log-normalised expression that the decoder gives the cells, as if they were
//! of no batch. Latent dimensions are all of unit spread, whatever they mean; here cells are as far apart as their
//! expression is. A cell's place depends on its latent values alone.

use candle_core::Tensor;
use nalgebra::linalg::{QR, SVD};
use nalgebra::DMatrix;
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};

use super::profiles::{decoders, freedom, in_rows, Profiles};
use crate::backend::Backend;
use crate::model::Vae;
use crate::sampling::{Purpose, Streams};
use crate::{Error, Result, Stop};

/// Share of the variance that the components hold.
const ENOUGH: f64 = 0.98;
/// Components at most.
const MOST: usize = 50;
/// Directions that the search follows besides.
const OVERSAMPLING: usize = 10;
/// Times that the search goes through the cells and back to the genes.
const ROUNDS: usize = 2;
/// Components that vary less, relative to the first, are rounding errors.
const ROUNDING: f64 = 1e-4;
/// Steps of a small decomposition that does not converge.
const MOST_STEPS: usize = 10_000;

/// Where cells lie by their decoded expression: a map from latent values to principal components.
#[derive(Debug, Clone)]
pub struct ExpressionSpace {
    /// The scale head's bias of no batch, and the masks that there were when the components were found: batches that are
    /// added to the model later change nothing.
    pub(crate) bias: Tensor,
    pub(crate) n_masks: usize,
    /// Mean of each gene, genes x 1.
    pub(crate) center: Tensor,
    /// Components x genes, of length 1 each.
    pub(crate) rotation: Tensor,
    /// Standard deviation of each component over the cells.
    pub sd: Vec<f64>,
    /// Variance of all genes together.
    pub total_variance: f64,
}

impl ExpressionSpace {
    /// Finds the components of cells with latent values `z` (cells x dimensions); with several models, all of the same genes
    /// and cells, those of the mean of what their decoders make of each cell. The first model is the one that the space
    /// goes with.
    ///
    /// There are as many components as hold 98 % of the variance, at most 50. They are in descending order and signed so
    /// that the largest loading of each is positive. Found by subspace iteration from a seeded start (Halko, Martinsson &
    /// Tropp 2011, SIAM Review 53:217-288, algorithm 4.4); nothing of the size of cells x genes is held.
    ///
    /// # Errors
    /// [`Error::Argument`] without cells or when the latent values do not fit the models, [`Error::Model`] when what is
    /// decoded is no number, [`Error::Interrupted`] when asked to stop.
    ///
    /// ```
    /// # use scvae::backend::Cpu;
    /// # use scvae::batches::Design;
    /// # use scvae::counts::filter;
    /// # use scvae::model::Settings;
    /// # use scvae::training::{train, Silent, TrainingCells};
    /// use scvae::results::{embed, ExpressionSpace};
    ///
    /// # let values = (0..40 * 12).map(|i| (i * i % 7 * ((i / 12 + i) % 2)) as f32).collect();
    /// # let genes = (0..40).flat_map(|_cell| 0..12).collect();
    /// # let offsets = (0..=40).map(|cell| 12 * cell).collect();
    /// # let matrix = scvae::counts::CountMatrix::from_csr(offsets, genes, values, 12)?;
    /// # let view = filter(&matrix, 3, 2)?;
    /// # let batch: Vec<usize> = (0..view.n_cells()).map(|cell| cell / 2 % 2).collect();
    /// # let cells = TrainingCells { view: &view, batch: &batch, design: &Design::single(2) };
    /// # let settings = Settings { n_hidden: 16, n_latent: 2, max_epochs: Some(2), ..Settings::default() };
    /// let model = train(cells, &settings, &Cpu, &Silent)?.model;
    /// let z = embed(&model, &view, &batch, &|| false)?.mean;
    /// let space = ExpressionSpace::find(&[(&model, &z)], &|| false)?;
    /// let places = space.place(&[(&model, &z)], &|| false)?;
    /// assert_eq!(places.dim(), (view.n_cells(), space.n_components()));
    /// # Ok::<(), scvae::Error>(())
    /// ```
    pub fn find<B: Backend>(models: &[(&Vae<B>, &Array2<f64>)], should_stop: Stop) -> Result<Self> {
        let decoders = decoders(models)?;
        let mut profiles = Profiles::new(&decoders)?;
        let total_variance = profiles.centre(should_stop)?;
        let components = Components::find(&profiles, total_variance, should_stop)?;
        let (kept, bias) = (&decoders[0], decoders[0].bias.clone());
        Ok(ExpressionSpace {
            n_masks: kept.n_masks,
            center: profiles.center.clone(),
            rotation: in_rows(&components.rotation, bias.device())?,
            bias,
            sd: components.sd,
            total_variance,
        })
    }

    /// Places of cells with latent values `z` (cells x dimensions), cells x components. The first model is the one that the
    /// space goes with, or this one after batches were added to it; with more models, the mean of what all decode is placed.
    ///
    /// # Errors
    /// [`Error::Argument`] without cells or when the latent values do not fit the models, [`Error::Interrupted`] when asked
    /// to stop.
    pub fn place<B: Backend>(
        &self,
        models: &[(&Vae<B>, &Array2<f64>)],
        should_stop: Stop,
    ) -> Result<Array2<f64>> {
        let mut decoders = decoders(models)?;
        if let Some(first) = decoders.first_mut() {
            first.bias = self.bias.clone();
            first.n_masks = self.n_masks;
        }
        let profiles = Profiles {
            center: self.center.clone(),
            ..Profiles::new(&decoders)?
        };
        let places = profiles.onto_cells(&self.rotation, should_stop)?;
        let shape = (profiles.n_cells, self.n_components());
        Ok(Array2::from_shape_fn(shape, |place| places[place]))
    }

    /// Number of components.
    pub fn n_components(&self) -> usize {
        self.sd.len()
    }

    /// Loadings of the genes, genes x components.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn loadings(&self) -> Result<Array2<f64>> {
        let (k, n_genes) = self.rotation.dims2()?;
        let values = self.rotation.to_vec2::<f32>()?;
        Ok(Array2::from_shape_fn((n_genes, k), |(gene, component)| {
            f64::from(values[component][gene])
        }))
    }
}

/// The principal components of profiles.
struct Components {
    /// Genes x components.
    rotation: DMatrix<f64>,
    sd: Vec<f64>,
}

impl Components {
    fn find<B: Backend>(
        profiles: &Profiles<B>,
        total_variance: f64,
        should_stop: Stop,
    ) -> Result<Self> {
        let (n_cells, n_genes) = (profiles.n_cells, profiles.n_genes);
        let n = (MOST + OVERSAMPLING).min(n_cells).min(n_genes);
        let device = profiles.center.device();
        let seed = profiles.decoders[0].model.settings.seed;
        let mut rng = Streams::new(seed).stream(Purpose::Components, 0);
        let start = (0..n_genes * n).map(|_| StandardNormal.sample(&mut rng));
        let mut genes = DMatrix::from_iterator(n_genes, n, start);
        let mut weights = DMatrix::zeros(n, n);
        for _ in 0..ROUNDS {
            let cells = QR::new(profiles.onto_cells(&in_rows(&genes, device)?, should_stop)?).q();
            (genes, weights) = QR::new(profiles.onto_genes(&cells, should_stop)?).unpack();
        }
        // The profiles are about cells * weights' * genes'.
        let svd = SVD::try_new(weights.transpose(), false, true, f64::EPSILON, MOST_STEPS);
        let Some((values, Some(axes))) = svd.map(|svd| (svd.singular_values, svd.v_t)) else {
            return Err(Error::Model(
                "the components of the decoded expression were not found".into(),
            ));
        };
        let unit = freedom(n_cells).sqrt();
        let mut sd: Vec<f64> = values.iter().map(|value| value / unit).collect();
        sd.truncate(n_to_keep(&sd, total_variance));
        let mut rotation = genes * axes.rows(0, sd.len()).transpose();
        for mut component in rotation.column_iter_mut() {
            if component[component.icamax()] < 0.0 {
                component.neg_mut();
            }
        }
        Ok(Components { rotation, sd })
    }
}

/// Components that hold enough of the variance; at least one.
fn n_to_keep(sd: &[f64], total_variance: f64) -> usize {
    let usable = sd.iter().take_while(|&&s| s > ROUNDING * sd[0]).count();
    let mut held = 0.0;
    let last = sd.iter().position(|s| {
        held += s * s;
        held >= ENOUGH * total_variance
    });
    let enough = last.map_or(sd.len(), |last| last + 1);
    enough.min(usable).clamp(1, MOST)
}
