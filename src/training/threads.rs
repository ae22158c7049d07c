//! A pool of threads of our own: what is asked for is used, and no more.

use crate::{Error, Result};

/// Runs `work` in a pool of `threads` threads. Everything below, the tensor library included, stays within it.
///
/// # Errors
/// [`Error::Argument`] when the pool cannot be made, and what `work` returns.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .thread_name(|i| format!("scvae-{i}"))
        .build()
        .map_err(|e| Error::Argument(format!("threads = {threads}: no thread pool: {e}")))?;
    pool.install(work)
}
