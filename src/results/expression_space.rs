//! Expression space: principal components of the log-normalised expression that the decoder gives the cells, as if they were
//! of no batch. Latent dimensions are all of unit spread, whatever they mean; here cells are as far apart as their
//! expression is. A cell's place depends on its latent values alone.

use std::ops::Range;

use candle_core::{DType, Device, Result as CandleResult, Tensor, D};
use nalgebra::linalg::{QR, SVD};
use nalgebra::DMatrix;
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};

use super::CHUNK;
use crate::backend::Backend;
use crate::model::Vae;
use crate::sampling::{Purpose, Streams};
use crate::{Error, Result, Stop};

/// Counts that each cell's expression is scaled to before the logarithm of one plus it, as is usual.
const SCALE: f64 = 1e4;
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
    /// goes with. Besides the space come the cells' places, cells x components.
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
    /// let (space, places) = ExpressionSpace::find(&[(&model, &z)], &|| false)?;
    /// assert_eq!(places.dim(), (view.n_cells(), space.n_components()));
    /// assert_eq!(space.place(&[(&model, &z)], &|| false)?, places);
    /// # Ok::<(), scvae::Error>(())
    /// ```
    pub fn find<B: Backend>(
        models: &[(&Vae<B>, &Array2<f64>)],
        should_stop: Stop,
    ) -> Result<(Self, Array2<f64>)> {
        let decoders = decoders(models)?;
        let mut profiles = Profiles::new(&decoders)?;
        let total_variance = profiles.centre(should_stop)?;
        let components = Components::find(&profiles, total_variance, should_stop)?;
        let (kept, bias) = (&decoders[0], decoders[0].bias.clone());
        let space = ExpressionSpace {
            n_masks: kept.n_masks,
            center: profiles.center.clone(),
            rotation: in_rows(&components.rotation, bias.device())?,
            bias,
            sd: components.sd,
            total_variance,
        };
        let places = space.places(&profiles, should_stop)?;
        Ok((space, places))
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
        self.places(&profiles, should_stop)
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

    fn places<B: Backend>(&self, profiles: &Profiles<B>, should_stop: Stop) -> Result<Array2<f64>> {
        let mut places = Array2::zeros((profiles.n_cells, self.n_components()));
        profiles.for_each(should_stop, |rows, profile| {
            let values = self.rotation.matmul(&profile)?.to_vec2::<f32>()?;
            for (component, values) in values.iter().enumerate() {
                for (row, &value) in rows.clone().zip(values) {
                    places[[row, component]] = f64::from(value);
                }
            }
            Ok(())
        })?;
        Ok(places)
    }
}

fn decoders<'a, B: Backend>(
    models: &[(&'a Vae<B>, &'a Array2<f64>)],
) -> Result<Vec<NoBatch<'a, B>>> {
    let decoders = models.iter().map(|&(model, z)| NoBatch::new(model, z));
    decoders.collect()
}

/// The decoder of a model for cells of no batch, and these cells.
struct NoBatch<'a, B: Backend> {
    model: &'a Vae<B>,
    z: &'a Array2<f64>,
    bias: Tensor,
    n_masks: usize,
}

impl<'a, B: Backend> NoBatch<'a, B> {
    fn new(model: &'a Vae<B>, z: &'a Array2<f64>) -> Result<Self> {
        if z.ncols() != model.settings.n_latent {
            return Err(Error::Argument(format!(
                "the model has {} latent dimensions, the cells have {}",
                model.settings.n_latent,
                z.ncols()
            )));
        }
        Ok(NoBatch {
            model,
            z,
            bias: model.decoder.scale_bias_of_no_batch()?,
            n_masks: model.wiring().masks.len(),
        })
    }

    /// Log-normalised expression around `center`, genes x cells.
    fn decode(&self, rows: Range<usize>, center: &Tensor) -> Result<Tensor> {
        let shape = (rows.len(), self.z.ncols());
        let rows = self.z.slice(ndarray::s![rows, ..]);
        let z: Vec<f32> = rows.iter().map(|&z| z as f32).collect();
        let z = Tensor::from_vec(z, shape, self.bias.device())?;
        let logits = self
            .model
            .decode_to_no_batch(&z, &self.bias, self.n_masks)?;
        let backend = self.model.backend();
        backend.log_px_scale(&logits, SCALE, center)
    }
}

/// The expression of cells, mean over models and around its own mean, a chunk of cells at a time.
struct Profiles<'a, B: Backend> {
    decoders: &'a [NoBatch<'a, B>],
    n_cells: usize,
    n_genes: usize,
    /// What is subtracted, genes x 1.
    center: Tensor,
}

impl<'a, B: Backend> Profiles<'a, B> {
    /// Not centered yet.
    fn new(decoders: &'a [NoBatch<'a, B>]) -> Result<Self> {
        let Some(first) = decoders.first().filter(|first| first.z.nrows() > 0) else {
            return Err(Error::Argument("there are no cells to be placed".into()));
        };
        let (n_cells, n_genes) = (first.z.nrows(), first.model.n_genes());
        let fits = |d: &NoBatch<B>| d.z.nrows() == n_cells && d.model.n_genes() == n_genes;
        if !decoders.iter().all(fits) {
            return Err(Error::Argument(
                "the models are not of the same cells and genes".into(),
            ));
        }
        Ok(Profiles {
            decoders,
            n_cells,
            n_genes,
            center: Tensor::zeros((n_genes, 1), DType::F32, first.bias.device())?,
        })
    }

    fn device(&self) -> &Device {
        self.center.device()
    }

    /// Calls `f` with the profiles of some cells, genes x cells, until all have been.
    fn for_each(
        &self,
        should_stop: Stop,
        mut f: impl FnMut(Range<usize>, Tensor) -> Result<()>,
    ) -> Result<()> {
        for start in (0..self.n_cells).step_by(CHUNK) {
            if should_stop() {
                return Err(Error::Interrupted);
            }
            let rows = start..self.n_cells.min(start + CHUNK);
            let mut profile = self.decoders[0].decode(rows.clone(), &self.center)?;
            for decoder in &self.decoders[1..] {
                profile = (profile + decoder.decode(rows.clone(), &self.center)?)?;
            }
            if self.decoders.len() > 1 {
                profile = (profile / self.decoders.len() as f64)?;
            }
            f(rows, profile)?;
        }
        Ok(())
    }

    /// Finds the center; returns the variance of all genes together.
    fn centre(&mut self, should_stop: Stop) -> Result<f64> {
        let mut means = vec![0.0; self.n_genes];
        let mut squares = vec![0.0; self.n_genes];
        // In one pass: the moments of chunks are joined as they come (Chan, Golub & LeVeque 1983, The American
        // Statistician 37:242-247).
        self.for_each(should_stop, |rows, profile| {
            let mean = profile.mean_keepdim(D::Minus1)?;
            let around = profile.broadcast_sub(&mean)?.sqr()?.sum(D::Minus1)?;
            let mean = mean.flatten_all()?.to_vec1::<f32>()?;
            let (before, n) = (rows.start as f64, rows.len() as f64);
            for (gene, (mean, around)) in mean.iter().zip(around.to_vec1::<f32>()?).enumerate() {
                let apart = f64::from(*mean) - means[gene];
                means[gene] += apart * n / (before + n);
                squares[gene] += f64::from(around) + apart * apart * before * n / (before + n);
            }
            Ok(())
        })?;
        let total = squares.iter().sum::<f64>() / freedom(self.n_cells);
        if !total.is_finite() {
            return Err(Error::Model("the decoded expression is no number".into()));
        }
        let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
        self.center = Tensor::from_vec(means, (self.n_genes, 1), self.device())?;
        Ok(total)
    }

    /// Profiles times `genes` (genes x n): cells x n.
    fn onto_cells(&self, genes: &DMatrix<f64>, should_stop: Stop) -> Result<DMatrix<f64>> {
        let genes = in_rows(genes, self.device())?;
        let mut out = DMatrix::zeros(self.n_cells, genes.dim(0)?);
        self.for_each(should_stop, |rows, profile| {
            let product = genes.matmul(&profile)?.to_vec2::<f32>()?;
            for (j, values) in product.iter().enumerate() {
                for (row, &value) in rows.clone().zip(values) {
                    out[(row, j)] = f64::from(value);
                }
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Transposed profiles times `cells` (cells x n): genes x n.
    fn onto_genes(&self, cells: &DMatrix<f64>, should_stop: Stop) -> Result<DMatrix<f64>> {
        let shape = (cells.ncols(), self.n_genes);
        let mut out = Tensor::zeros(shape, DType::F64, self.device())?;
        self.for_each(should_stop, |rows, profile| {
            let cells = cells.rows(rows.start, rows.len()).into_owned();
            let product = in_rows(&cells, self.device())?.matmul(&profile.t()?)?;
            out = (&out + product.to_dtype(DType::F64)?)?;
            Ok(())
        })?;
        let values = out.flatten_all()?.to_vec1::<f64>()?;
        Ok(DMatrix::from_vec(self.n_genes, cells.ncols(), values))
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
        let seed = profiles.decoders[0].model.settings.seed;
        let mut rng = Streams::new(seed).stream(Purpose::Components, 0);
        let start = (0..n_genes * n).map(|_| StandardNormal.sample(&mut rng));
        let mut genes = DMatrix::from_iterator(n_genes, n, start);
        let mut weights = DMatrix::zeros(n, n);
        for _ in 0..ROUNDS {
            let cells = QR::new(profiles.onto_cells(&genes, should_stop)?).q();
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

fn freedom(n_cells: usize) -> f64 {
    (n_cells as f64 - 1.0).max(1.0)
}

/// A matrix as a tensor whose rows are its columns, in single precision.
fn in_rows(x: &DMatrix<f64>, device: &Device) -> CandleResult<Tensor> {
    let values: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    Tensor::from_vec(values, (x.ncols(), x.nrows()), device)
}
