//! The log-normalised expression that a decoder gives cells, as if these were of no batch: a chunk of cells at a time.

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

/// The expression of a model's cells, around a center.
pub(super) struct Profiles<'a, B: Backend> {
    pub(super) model: &'a Vae<B>,
    /// Latent values, cells x dimensions.
    pub(super) z: &'a Array2<f64>,
    /// The scale head's bias of no batch, and how many of the first masks the mean is taken of.
    pub(super) bias: Tensor,
    pub(super) n_masks: usize,
    /// What is subtracted, genes x 1.
    pub(super) center: Tensor,
}

impl<'a, B: Backend> Profiles<'a, B> {
    /// Not centered yet.
    ///
    /// # Errors
    /// [`Error::Argument`] when the latent values do not fit the model.
    pub(super) fn new(model: &'a Vae<B>, z: &'a Array2<f64>) -> Result<Self> {
        if z.ncols() != model.settings.n_latent {
            return Err(Error::Argument(format!(
                "the model has {} latent dimensions, the cells have {}",
                model.settings.n_latent,
                z.ncols()
            )));
        }
        let bias = model.decoder.scale_bias_of_no_batch()?;
        Ok(Profiles {
            model,
            z,
            n_masks: model.wiring().masks.len(),
            center: Tensor::zeros((model.n_genes(), 1), DType::F32, bias.device())?,
            bias,
        })
    }

    pub(super) fn n_cells(&self) -> usize {
        self.z.nrows()
    }

    pub(super) fn n_genes(&self) -> usize {
        self.model.n_genes()
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
        for start in (0..self.n_cells()).step_by(CHUNK) {
            if should_stop() {
                return Err(Error::Interrupted);
            }
            let rows = start..self.n_cells().min(start + CHUNK);
            let z = self.z.slice(ndarray::s![rows.clone(), ..]);
            let z: Vec<f32> = z.iter().map(|&z| z as f32).collect();
            let z = Tensor::from_vec(z, (rows.len(), self.z.ncols()), self.device())?;
            let logits = self
                .model
                .decode_to_no_batch(&z, &self.bias, self.n_masks)?;
            let backend = self.model.backend();
            f(rows, backend.log_px_scale(&logits, SCALE, &self.center)?)?;
        }
        Ok(())
    }

    /// Finds the center; returns the variance of all genes together.
    ///
    /// # Errors
    /// [`Error::Model`] when what is decoded is no number, [`Error::Interrupted`] when asked to stop.
    pub(super) fn centre(&mut self, should_stop: Stop) -> Result<f64> {
        let mut means = vec![0.0; self.n_genes()];
        let mut squares = vec![0.0; self.n_genes()];
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
        let total = squares.iter().sum::<f64>() / freedom(self.n_cells());
        if !total.is_finite() {
            return Err(Error::Model("the decoded expression is no number".into()));
        }
        let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
        self.center = Tensor::from_vec(means, (self.n_genes(), 1), self.device())?;
        Ok(total)
    }

    /// Profiles times the transposed `genes` (n x genes): cells x n.
    pub(super) fn onto_cells(&self, genes: &Tensor, should_stop: Stop) -> Result<DMatrix<f64>> {
        let mut out = DMatrix::zeros(self.n_cells(), genes.dim(0)?);
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
        let shape = (cells.ncols(), self.n_genes());
        let mut out = Tensor::zeros(shape, DType::F64, self.device())?;
        self.for_each(should_stop, |rows, profile| {
            let cells = cells.rows(rows.start, rows.len()).into_owned();
            let product = in_rows(&cells, self.device())?.matmul(&profile.t()?)?;
            out = (&out + product.to_dtype(DType::F64)?)?;
            Ok(())
        })?;
        let values = out.flatten_all()?.to_vec1::<f64>()?;
        Ok(DMatrix::from_vec(self.n_genes(), cells.ncols(), values))
    }

    /// [`in_rows`] on the device of the profiles.
    pub(super) fn in_rows(&self, x: &DMatrix<f64>) -> CandleResult<Tensor> {
        in_rows(x, self.device())
    }
}

/// Cells that are free to differ from their mean.
pub(super) fn freedom(n_cells: usize) -> f64 {
    (n_cells as f64 - 1.0).max(1.0)
}

/// A matrix as a tensor whose rows are its columns, in single precision.
fn in_rows(x: &DMatrix<f64>, device: &Device) -> CandleResult<Tensor> {
    let values: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    Tensor::from_vec(values, (x.ncols(), x.nrows()), device)
}
