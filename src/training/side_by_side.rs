//! Independent trainings beside each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::with_threads;
use crate::backend::Backend;
use crate::{Error, Result};

/// Does `n` pieces of work that know nothing of each other, numbered from 0, in the threads of the pool that it is
/// called in. On the processor there are as many at a time as there are threads, each with its share of them: a mini-batch is too
/// small to keep many threads busy. A card does one after the other.
///
/// What was made comes back in order; `None` is what was interrupted, and after an interruption nothing more is begun.
///
/// # Errors
/// The first error of the work, by its number, that is no interruption; nothing is begun after it.
///
/// ```
/// use scvae::backend::Cpu;
/// use scvae::training::{side_by_side, with_threads};
///
/// let squares = with_threads(2, || side_by_side(&Cpu, 5, |i| Ok(i * i)))?;
/// assert_eq!(squares, [0, 1, 4, 9, 16].map(Some));
/// # Ok::<(), scvae::Error>(())
/// ```
pub fn side_by_side<B: Backend, T: Send>(
    backend: &B,
    n: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<Option<T>>> {
    let threads = rayon::current_num_threads();
    let at_once = match backend.device().is_cpu() {
        true => threads.min(n),
        false => 1,
    };
    let next = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let do_some = || {
        let mut made = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= n {
                break;
            }
            let result = work(number);
            over.fetch_or(result.is_err(), Ordering::Relaxed);
            made.push((number, result));
        }
        made
    };
    let mut made = if at_once <= 1 {
        do_some()
    } else {
        let share = |worker| threads / at_once + usize::from(worker < threads % at_once);
        std::thread::scope(|scope| -> Result<Vec<_>> {
            let begin = |worker| scope.spawn(move || with_threads(share(worker), || Ok(do_some())));
            let workers: Vec<_> = (0..at_once).map(begin).collect();
            let mut made = Vec::new();
            for worker in workers {
                let some = worker.join();
                made.extend(some.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(made)
        })?
    };
    made.sort_by_key(|(number, _)| *number);
    let mut in_order: Vec<Option<T>> = (0..n).map(|_| None).collect();
    for (number, result) in made {
        match result {
            Err(Error::Interrupted) => {}
            result => in_order[number] = Some(result?),
        }
    }
    Ok(in_order)
}
