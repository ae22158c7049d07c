//! The log-normalised expression that decoders give cells, as if these were of no batch: a chunk of cells at a time.

use std::ops::Range;

use candle_core::{DType, Device, Result as CandleResult, Tensor, D};
use nalgebra::DMatrix;
use ndarray::Array2;

use super::CHUNK;
use crate::backend::Backend;
use crate::model::Vae;
use crate::{Error, Result, Stop};

/// Counts that each cell's expression is scaled to before the logarithm of one plus it, as is usual.
const SCALE: f64 = 1e4;

/// The decoders of models, each with its own cells.
///
/// # Errors
/// [`Error::Argument`] when the latent values do not fit the models.
pub(super) fn decoders<'a, B: Backend>(
    models: &[(&'a Vae<B>, &'a Array2<f64>)],
) -> Result<Vec<NoBatch<'a, B>>> {
    let decoders = models.iter().map(|&(model, z)| NoBatch::new(model, z));
    decoders.collect()
}

/// The decoder of a model for cells of no batch, and these cells.
pub(super) struct NoBatch<'a, B: Backend> {
    pub(super) model: &'a Vae<B>,
    z: &'a Array2<f64>,
    /// The scale head's bias, and the first masks, of which the mean is taken.
    pub(super) bias: Tensor,
    pub(super) n_masks: usize,
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
pub(super) struct Profiles<'a, B: Backend> {
    pub(super) decoders: &'a [NoBatch<'a, B>],
    pub(super) n_cells: usize,
    pub(super) n_genes: usize,
    /// What is subtracted, genes x 1.
    pub(super) center: Tensor,
}

impl<'a, B: Backend> Profiles<'a, B> {
    /// Not centered yet.
    pub(super) fn new(decoders: &'a [NoBatch<'a, B>]) -> Result<Self> {
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

    pub(super) fn device(&self) -> &Device {
        self.center.device()
    }

    /// Calls `f` with the profiles of some cells, genes x cells, until all have been.
    pub(super) fn for_each(
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
    pub(super) fn centre(&mut self, should_stop: Stop) -> Result<f64> {
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

    /// Profiles times the transposed `genes` (n x genes): cells x n.
    pub(super) fn onto_cells(&self, genes: &Tensor, should_stop: Stop) -> Result<DMatrix<f64>> {
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
    pub(super) fn onto_genes(
        &self,
        cells: &DMatrix<f64>,
        should_stop: Stop,
    ) -> Result<DMatrix<f64>> {
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

/// Cells that are free to differ from their mean.
pub(super) fn freedom(n_cells: usize) -> f64 {
    (n_cells as f64 - 1.0).max(1.0)
}

/// A matrix as a tensor whose rows are its columns, in single precision.
pub(super) fn in_rows(x: &DMatrix<f64>, device: &Device) -> CandleResult<Tensor> {
    let values: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    Tensor::from_vec(values, (x.ncols(), x.nrows()), device)
}
