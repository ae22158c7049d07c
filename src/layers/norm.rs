//! Batch normalisation over the cells of a mini-batch, with scVI's constants.

use std::sync::Arc;

use candle_core::{
    bail, CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor, Var,
};

use crate::values::CpuValues;

/// Weight of the newest mini-batch in the running statistics.
const MOMENTUM: f64 = 0.01;
/// Added to the variance.
const EPSILON: f64 = 1e-3;

/// Normalises each feature over the cells (momentum 0.01, eps 1e-3, as scVI and TensorFlow).
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Scale, one per feature.
    pub gamma: Var,
    /// Shift, one per feature.
    pub beta: Var,
    /// Mean used outside training.
    pub running_mean: Tensor,
    /// Variance used outside training.
    pub running_var: Tensor,
}

impl BatchNorm {
    /// Scale one, shift zero.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn new(n: usize, device: &candle_core::Device) -> CandleResult<Self> {
        Ok(BatchNorm {
            gamma: Var::ones(n, candle_core::DType::F32, device)?,
            beta: Var::zeros(n, candle_core::DType::F32, device)?,
            running_mean: Tensor::zeros(n, candle_core::DType::F32, device)?,
            running_var: Tensor::ones(n, candle_core::DType::F32, device)?,
        })
    }

    /// Normalises cells x features by the mini-batch's own statistics and takes them into the running ones.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn train(&mut self, x: &Tensor) -> CandleResult<Tensor> {
        let (n_cells, n_features) = x.dims2()?;
        let statistics = Arc::new(Statistics::of(&CpuValues::of(x)?, n_features));
        let n = n_cells as f64;
        let unbiased = n / (n - 1.0).max(1.0);
        let as_tensor = |values: &[f64], factor: f64| {
            let values: Vec<f32> = values.iter().map(|&v| (v * factor) as f32).collect();
            Tensor::from_vec(values, n_features, x.device())
        };
        self.running_mean = blend(&self.running_mean, &as_tensor(&statistics.mean, 1.0)?)?;
        self.running_var = blend(&self.running_var, &as_tensor(&statistics.var, unbiased)?)?;
        x.apply_op3(&self.gamma, &self.beta, Normalise { statistics })
    }

    /// Normalises cells x features by the running statistics.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let sd = (&self.running_var + EPSILON)?.sqrt()?;
        x.broadcast_sub(&self.running_mean)?
            .broadcast_div(&sd)?
            .broadcast_mul(&self.gamma)?
            .broadcast_add(&self.beta)
    }
}

fn blend(old: &Tensor, new: &Tensor) -> CandleResult<Tensor> {
    (old * (1.0 - MOMENTUM))? + (new * MOMENTUM)?
}

/// Per feature, over the cells of a mini-batch.
struct Statistics {
    mean: Vec<f64>,
    /// Without Bessel's correction.
    var: Vec<f64>,
}

impl Statistics {
    fn of(x: &[f32], n_features: usize) -> Self {
        let n = (x.len() / n_features) as f64;
        let mut mean = vec![0.0; n_features];
        for row in x.chunks_exact(n_features) {
            for (sum, &x) in mean.iter_mut().zip(row) {
                *sum += f64::from(x);
            }
        }
        mean.iter_mut().for_each(|sum| *sum /= n);
        let mut var = vec![0.0; n_features];
        for row in x.chunks_exact(n_features) {
            for ((sum, &x), mean) in var.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(x) - mean).powi(2);
            }
        }
        var.iter_mut().for_each(|sum| *sum /= n);
        Statistics { mean, var }
    }

    /// The reciprocal of each feature's standard deviation.
    fn scale(&self) -> Vec<f32> {
        let scale = self.var.iter().map(|v| (1.0 / (v + EPSILON).sqrt()) as f32);
        scale.collect()
    }
}

/// `gamma * (x - mean) / sd + beta` with the mini-batch's statistics, as one operation: sums over cells are slow in
/// candle.
struct Normalise {
    statistics: Arc<Statistics>,
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        _: &Layout,
        beta: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let Some((from, to)) = x_layout.contiguous_offsets() else {
            bail!("batch norm needs contiguous features");
        };
        let x = &x.as_slice::<f32>()?[from..to];
        let (gamma, beta) = (gamma.as_slice::<f32>()?, beta.as_slice::<f32>()?);
        let scale = self.statistics.scale();
        let mean: Vec<f32> = self.statistics.mean.iter().map(|&m| m as f32).collect();
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(mean.len()) {
            let features = gamma.iter().zip(beta).zip(mean.iter().zip(&scale));
            let rows = row.iter().zip(features);
            out.extend(rows.map(|(&x, ((&g, &b), (&m, &s)))| g * ((x - m) * s) + b));
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _: &Tensor,
        _: &Tensor,
        d_out: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n_cells, n) = x.dims2()?;
        let (x, d_out) = (CpuValues::of(x)?, CpuValues::of(d_out)?);
        let scale = self.statistics.scale();
        let mean = &self.statistics.mean;
        let normalised = |x: f32, i: usize| (f64::from(x) - mean[i]) * f64::from(scale[i]);
        let (mut d_gamma, mut d_beta) = (vec![0.0; n], vec![0.0; n]);
        for (x, d) in x.chunks_exact(n).zip(d_out.chunks_exact(n)) {
            for i in 0..n {
                d_gamma[i] += f64::from(d[i]) * normalised(x[i], i);
                d_beta[i] += f64::from(d[i]);
            }
        }
        // The mean and the variance depend on x too: what moves along with them is taken out.
        let device = gamma.device();
        let gamma = CpuValues::of(gamma)?;
        let n_cells = n_cells as f64;
        let mut d_x = Vec::with_capacity(x.len());
        for (x, d) in x.chunks_exact(n).zip(d_out.chunks_exact(n)) {
            d_x.extend((0..n).map(|i| {
                let along = (d_beta[i] + normalised(x[i], i) * d_gamma[i]) / n_cells;
                gamma[i] * scale[i] * (f64::from(d[i]) - along) as f32
            }));
        }
        let rows = x.len() / n;
        let per_feature = |values: Vec<f64>| {
            let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
            Tensor::from_vec(values, n, device)
        };
        Ok((
            Some(Tensor::from_vec(d_x, (rows, n), device)?),
            Some(per_feature(d_gamma)?),
            Some(per_feature(d_beta)?),
        ))
    }
}
