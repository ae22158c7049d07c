//! Batch normalisation of cells x features, forwards and backwards: sums over cells in double precision.

/// Mean and variance of each feature over the cells.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureStatistics {
    /// One per feature.
    pub mean: Vec<f64>,
    /// One per feature, without Bessel's correction.
    pub variance: Vec<f64>,
}

/// Gradients of the inputs of [`normalise`].
#[derive(Debug, Clone, PartialEq)]
pub struct NormaliseGradients {
    /// Cells x features.
    pub x: Vec<f32>,
    /// One per feature.
    pub gamma: Vec<f32>,
    /// One per feature.
    pub beta: Vec<f32>,
}

impl FeatureStatistics {
    /// The reciprocal of each feature's standard deviation.
    fn scale(&self, epsilon: f64) -> Vec<f32> {
        let scale = self
            .variance
            .iter()
            .map(|v| (1.0 / (v + epsilon).sqrt()) as f32);
        scale.collect()
    }
}

/// Statistics of `x`, cells x features.
pub fn feature_statistics(x: &[f32], n_features: usize) -> FeatureStatistics {
    let n = (x.len() / n_features) as f64;
    let mut mean = vec![0.0; n_features];
    for row in x.chunks_exact(n_features) {
        for (sum, &x) in mean.iter_mut().zip(row) {
            *sum += f64::from(x);
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    let mut variance = vec![0.0; n_features];
    for row in x.chunks_exact(n_features) {
        for ((sum, &x), mean) in variance.iter_mut().zip(row).zip(&mean) {
            *sum += (f64::from(x) - mean).powi(2);
        }
    }
    variance.iter_mut().for_each(|sum| *sum /= n);
    FeatureStatistics { mean, variance }
}

/// `gamma * (x - mean) / sd + beta`, cells x features; `epsilon` is added to the variance.
pub fn normalise(
    x: &[f32],
    statistics: &FeatureStatistics,
    gamma: &[f32],
    beta: &[f32],
    epsilon: f64,
) -> Vec<f32> {
    let scale = statistics.scale(epsilon);
    let mean: Vec<f32> = statistics.mean.iter().map(|&m| m as f32).collect();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(mean.len()) {
        let features = gamma.iter().zip(beta).zip(mean.iter().zip(&scale));
        let rows = row.iter().zip(features);
        out.extend(rows.map(|(&x, ((&g, &b), (&m, &s)))| g * ((x - m) * s) + b));
    }
    out
}

/// The way back of [`normalise`], for statistics that are those of `x`.
pub fn normalise_backward(
    x: &[f32],
    statistics: &FeatureStatistics,
    gamma: &[f32],
    epsilon: f64,
    d_out: &[f32],
) -> NormaliseGradients {
    let (n, scale, mean) = (gamma.len(), statistics.scale(epsilon), &statistics.mean);
    let normalised = |x: f32, i: usize| (f64::from(x) - mean[i]) * f64::from(scale[i]);
    let (mut d_gamma, mut d_beta) = (vec![0.0; n], vec![0.0; n]);
    for (x, d) in x.chunks_exact(n).zip(d_out.chunks_exact(n)) {
        for i in 0..n {
            d_gamma[i] += f64::from(d[i]) * normalised(x[i], i);
            d_beta[i] += f64::from(d[i]);
        }
    }
    // The mean and the variance depend on x too: what moves along with them is taken out.
    let n_cells = (x.len() / n) as f64;
    let mut d_x = Vec::with_capacity(x.len());
    for (x, d) in x.chunks_exact(n).zip(d_out.chunks_exact(n)) {
        d_x.extend((0..n).map(|i| {
            let along = (d_beta[i] + normalised(x[i], i) * d_gamma[i]) / n_cells;
            gamma[i] * scale[i] * (f64::from(d[i]) - along) as f32
        }));
    }
    let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
    NormaliseGradients {
        x: d_x,
        gamma: single(d_gamma),
        beta: single(d_beta),
    }
}
