//! The parameters of one count's distribution, and what they make of the count.

/// The parameters of one count's distribution. Those that a distribution does not have are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parameters {
    /// Logarithm of the mean (without extra zeros).
    pub log_mu: f64,
    /// Logit of the extra zeros (`px_dropout`).
    pub dropout: f64,
    /// Logarithm of the inverse dispersion (`px_r`).
    pub log_theta: f64,
}

/// A log-probability and its derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogProbability {
    /// Natural logarithm of the probability.
    pub value: f64,
    /// Derivative with respect to the logarithm of the mean.
    pub d_log_mu: f64,
    /// Derivative with respect to the logit of the extra zeros; zero where a distribution has none.
    pub d_dropout: f64,
    /// Derivative with respect to the logarithm of the dispersion; zero where a distribution has none.
    pub d_log_theta: f64,
}
