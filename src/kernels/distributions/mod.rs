//! The count distributions, a file each, and the choice among them. A new one is a file here, a variant of
//! [`Likelihood`] and an arm in its `with`.

mod distribution;
mod nb;
mod poisson;
mod zinb;

use serde::{Deserialize, Serialize};

pub(super) use distribution::{CountDistribution, Zeros};
pub use nb::negative_binomial;
pub use poisson::poisson;
pub use zinb::zero_inflated;

use super::log_probability::{LogProbability, Parameters};

/// The distribution of a count, given its mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Likelihood {
    /// Zero-inflated negative binomial: a negative binomial with extra zeros.
    #[default]
    Zinb,
    /// Negative binomial.
    Nb,
    /// Poisson.
    Poisson,
}

/// What is done with a distribution once it is chosen.
pub(super) trait WithDistribution {
    type Output;

    fn with<D: CountDistribution>(self) -> Self::Output;
}

impl Likelihood {
    /// The one place where the choice is made: everything below is compiled for each distribution.
    pub(super) fn with<W: WithDistribution>(self, work: W) -> W::Output {
        match self {
            Likelihood::Zinb => work.with::<zinb::Zinb>(),
            Likelihood::Nb => work.with::<nb::Nb>(),
            Likelihood::Poisson => work.with::<poisson::Poisson>(),
        }
    }

    /// Whether extra zeros are mixed in, whose logits a head of the decoder gives.
    pub fn has_dropout(self) -> bool {
        self.with(HasDropout)
    }

    /// Whether every gene has a dispersion (`px_r`).
    pub fn has_dispersion(self) -> bool {
        self.with(HasDispersion)
    }

    /// The log-probability of a whole `count >= 0` and its derivatives, in double precision.
    pub fn log_probability(self, count: f64, parameters: &Parameters) -> LogProbability {
        self.with(ClosedForm { count, parameters })
    }
}

struct HasDropout;

impl WithDistribution for HasDropout {
    type Output = bool;

    fn with<D: CountDistribution>(self) -> bool {
        D::HAS_DROPOUT
    }
}

struct HasDispersion;

impl WithDistribution for HasDispersion {
    type Output = bool;

    fn with<D: CountDistribution>(self) -> bool {
        D::HAS_DISPERSION
    }
}

struct ClosedForm<'a> {
    count: f64,
    parameters: &'a Parameters,
}

impl WithDistribution for ClosedForm<'_> {
    type Output = LogProbability;

    fn with<D: CountDistribution>(self) -> LogProbability {
        D::log_probability(self.count, self.parameters)
    }
}
