//! Expression space: principal components of the log-normalised expression that the decoder gives the cells, as if they were
//! of no batch. Latent dimensions are all of unit spread, whatever they mean; here cells are as far apart as their
//! expression is. A cell's place depends on its latent values alone.

use candle_core::Tensor;
use nalgebra::linalg::{QR, SVD};
use nalgebra::DMatrix;
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};

use super::profiles::{freedom, Profiles};
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
    /// Finds the components of a model's cells with latent values `z` (cells x dimensions).
    ///
    /// There are as many components as hold 98 % of the variance, at most 50. They are in descending order and signed so
    /// that the largest loading of each is positive. Found by subspace iteration from a seeded start (Halko, Martinsson &
    /// Tropp 2011, SIAM Review 53:217-288, algorithm 4.4); nothing of the size of cells x genes is held.
    ///
    /// # Errors
    /// [`Error::Argument`] without cells or when the latent values do not fit the model, [`Error::Model`] when what is
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
    /// let space = ExpressionSpace::find(&model, &z, &|| false)?;
    /// let places = space.place(&model, &z, &|| false)?;
    /// assert_eq!(places.dim(), (view.n_cells(), space.n_components()));
    /// # Ok::<(), scvae::Error>(())
    /// ```
    pub fn find<B: Backend>(model: &Vae<B>, z: &Array2<f64>, should_stop: Stop) -> Result<Self> {
        let spaces = find_together(&[(model, z)], n_to_keep, should_stop)?;
        spaces.into_iter().next().ok_or_else(no_cells)
    }

    /// Finds the components of the same cells by several models together: a space for each model, whose components are of
    /// one kind, so that the mean of a cell's places by all models is its place by the joint decomposition of what they
    /// decode, and the squared distance of two cells the mean of those by the models. There are as many components as the
    /// first model has by itself; `sd` is that of the joint places.
    ///
    /// # Errors
    /// As [`ExpressionSpace::find`], and when the models are not of the same cells.
    pub fn find_joint<B: Backend>(
        models: &[(&Vae<B>, &Array2<f64>)],
        should_stop: Stop,
    ) -> Result<Vec<Self>> {
        let &(model, z) = models.first().ok_or_else(no_cells)?;
        let n = ExpressionSpace::find(model, z, should_stop)?.n_components();
        find_together(models, |sd, _| n.min(sd.len()), should_stop)
    }

    /// Places of cells with latent values `z` (cells x dimensions), cells x components; `model` is the one that the space
    /// goes with, or this one after batches were added to it.
    ///
    /// # Errors
    /// [`Error::Argument`] when the latent values do not fit the model, [`Error::Interrupted`] when asked to stop.
    pub fn place<B: Backend>(
        &self,
        model: &Vae<B>,
        z: &Array2<f64>,
        should_stop: Stop,
    ) -> Result<Array2<f64>> {
        let profiles = Profiles {
            bias: self.bias.clone(),
            n_masks: self.n_masks,
            center: self.center.clone(),
            ..Profiles::new(model, z)?
        };
        let places = profiles.onto_cells(&self.rotation, should_stop)?;
        let shape = (z.nrows(), self.n_components());
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

fn no_cells() -> Error {
    Error::Argument("there are no cells to be placed".into())
}

/// A space for each model; `how_many` is told the components' standard deviations and the variance of all genes.
fn find_together<B: Backend>(
    models: &[(&Vae<B>, &Array2<f64>)],
    how_many: impl Fn(&[f64], f64) -> usize,
    should_stop: Stop,
) -> Result<Vec<ExpressionSpace>> {
    let mut parts: Vec<Profiles<B>> = models
        .iter()
        .map(|&(model, z)| Profiles::new(model, z))
        .collect::<Result<_>>()?;
    let n_cells = parts.first().map_or(0, Profiles::n_cells);
    if n_cells == 0 {
        return Err(no_cells());
    }
    if parts.iter().any(|part| part.n_cells() != n_cells) {
        return Err(Error::Argument(
            "the models are not of the same cells".into(),
        ));
    }
    let mut total_variance = 0.0;
    for part in &mut parts {
        total_variance += part.centre(should_stop)? / models.len() as f64;
    }
    let side_by_side = SideBySide { parts };
    let (mut rotation, mut sd) = side_by_side.components(should_stop)?;
    let n = how_many(&sd, total_variance);
    sd.truncate(n);
    rotation.resize_horizontally_mut(n, 0.0);
    let weight = side_by_side.weight();
    let blocks = side_by_side.blocks();
    let spaces = side_by_side.parts.into_iter().zip(blocks);
    spaces
        .map(|(part, (first, n_genes))| {
            Ok(ExpressionSpace {
                rotation: part.in_rows(&(rotation.rows(first, n_genes) / weight))?,
                bias: part.bias,
                n_masks: part.n_masks,
                center: part.center,
                sd: sd.clone(),
                total_variance,
            })
        })
        .collect()
}

/// The profiles of the same cells by several models, each weighted so that squared distances are means over the models. The
/// genes of one model come after those of the other.
struct SideBySide<'a, B: Backend> {
    /// At least one, of at least one cell.
    parts: Vec<Profiles<'a, B>>,
}

impl<B: Backend> SideBySide<'_, B> {
    fn weight(&self) -> f64 {
        1.0 / (self.parts.len() as f64).sqrt()
    }

    /// Where the genes of each model begin, and how many there are.
    fn blocks(&self) -> Vec<(usize, usize)> {
        let mut first = 0;
        let of_part = |part: &Profiles<B>| {
            let block = (first, part.n_genes());
            first += part.n_genes();
            block
        };
        self.parts.iter().map(of_part).collect()
    }

    /// Components, genes x n, and their standard deviations.
    fn components(&self, should_stop: Stop) -> Result<(DMatrix<f64>, Vec<f64>)> {
        let n_cells = self.parts[0].n_cells();
        let n_genes: usize = self.parts.iter().map(Profiles::n_genes).sum();
        let n = (MOST + OVERSAMPLING).min(n_cells).min(n_genes);
        let seed = self.parts[0].model.settings.seed;
        let mut rng = Streams::new(seed).stream(Purpose::Components, 0);
        let start = (0..n_genes * n).map(|_| StandardNormal.sample(&mut rng));
        let mut genes = DMatrix::from_iterator(n_genes, n, start);
        let mut weights = DMatrix::zeros(n, n);
        for _ in 0..ROUNDS {
            let cells = QR::new(self.onto_cells(&genes, should_stop)?).q();
            (genes, weights) = QR::new(self.onto_genes(&cells, should_stop)?).unpack();
        }
        // The profiles are about cells * weights' * genes'.
        let svd = SVD::try_new(weights.transpose(), false, true, f64::EPSILON, MOST_STEPS);
        let Some((values, Some(axes))) = svd.map(|svd| (svd.singular_values, svd.v_t)) else {
            return Err(Error::Model(
                "the components of the decoded expression were not found".into(),
            ));
        };
        let unit = freedom(n_cells).sqrt();
        let sd = values.iter().map(|value| value / unit).collect();
        let mut rotation = genes * axes.transpose();
        let n_first = self.parts[0].n_genes();
        for mut component in rotation.column_iter_mut() {
            let of_first = component.rows(0, n_first);
            if of_first[of_first.icamax()] < 0.0 {
                component.neg_mut();
            }
        }
        Ok((rotation, sd))
    }

    fn onto_cells(&self, genes: &DMatrix<f64>, should_stop: Stop) -> Result<DMatrix<f64>> {
        let mut sum = DMatrix::zeros(self.parts[0].n_cells(), genes.ncols());
        for (part, (first, n)) in self.parts.iter().zip(self.blocks()) {
            let of_part = part.in_rows(&genes.rows(first, n).into_owned())?;
            sum += part.onto_cells(&of_part, should_stop)?;
        }
        Ok(sum * self.weight())
    }

    fn onto_genes(&self, cells: &DMatrix<f64>, should_stop: Stop) -> Result<DMatrix<f64>> {
        let n_genes = self.parts.iter().map(Profiles::n_genes).sum();
        let mut all = DMatrix::zeros(n_genes, cells.ncols());
        for (part, (first, n)) in self.parts.iter().zip(self.blocks()) {
            let of_part = part.onto_genes(cells, should_stop)? * self.weight();
            all.rows_mut(first, n).copy_from(&of_part);
        }
        Ok(all)
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
