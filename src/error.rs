//! The one error type of the crate. Its class travels to R, where each becomes a condition class.

/// Result of every fallible function of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, by who can mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The counts break a rule (negative, not whole, not finite, empty).
    #[error("{0}")]
    Counts(String),
    /// An argument is out of its range or does not fit the others.
    #[error("{0}")]
    Argument(String),
    /// A file is missing, unreadable or not of the form expected.
    #[error("{0}")]
    File(String),
    /// A saved model cannot be used: damaged, or of another version.
    #[error("{0}")]
    Model(String),
    /// Training left the range of numbers.
    #[error("{0}")]
    Numerical(String),
    /// Asked to stop before there was a result.
    #[error("interrupted before there was a result")]
    Interrupted,
    /// A fault of the tensor library: never the user's.
    #[error("tensor library: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// The condition class under which R signals the error.
    pub fn class(&self) -> &'static str {
        match self {
            Error::Counts(_) => "scvae_error_counts",
            Error::Argument(_) => "scvae_error_argument",
            Error::File(_) => "scvae_error_file",
            Error::Model(_) => "scvae_error_model",
            Error::Numerical(_) => "scvae_error_numerical",
            Error::Interrupted => "scvae_error_interrupted",
            Error::Tensor(_) => "scvae_error_internal",
        }
    }
}

/// Asked now and then, by work that may take long, whether to stop.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Steps between two looks.
const STEPS_BETWEEN_LOOKS: usize = 1024;

/// Looks, in a loop of many short steps, now and then whether to stop.
///
/// # Errors
/// [`Error::Interrupted`] then.
pub(crate) fn go_on(step: usize, should_stop: Stop) -> Result<()> {
    match step.is_multiple_of(STEPS_BETWEEN_LOOKS) && should_stop() {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}
