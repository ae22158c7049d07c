//! Long work on a thread of its own, while R's thread shows progress and listens for Ctrl-C.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::Mutex;
use std::time::Duration;

use extendr_api::prelude::*;

use crate::model::EpochRecord;
use crate::training::{with_threads, Monitor};
use crate::{Error, Result};

/// How often R's thread looks for an interrupt.
const POLL: Duration = Duration::from_millis(50);

/// An epoch of a fit, one of several.
pub struct Progress {
    pub fit: usize,
    pub n_fits: usize,
    pub max_epochs: usize,
    /// Epochs that were over when the work began, of which its seconds know nothing.
    pub epochs_before: usize,
    pub record: EpochRecord,
}

/// The working thread's end: reports epochs, learns of interrupts.
pub struct Reporter {
    interrupts: AtomicUsize,
    events: Mutex<Sender<Progress>>,
}

impl Reporter {
    /// How often Ctrl-C was pressed since the work began.
    pub fn interrupts(&self) -> usize {
        self.interrupts.load(Ordering::Relaxed)
    }

    fn count_interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a fit sees of the reporter.
pub struct FitMonitor<'a> {
    pub reporter: &'a Reporter,
    pub fit: usize,
    pub n_fits: usize,
    /// Epochs of it that were over before.
    pub epochs_before: usize,
}

impl Monitor for FitMonitor<'_> {
    fn should_stop(&self) -> bool {
        self.reporter.interrupts() > 0
    }

    fn epoch_done(&self, record: &EpochRecord, max_epochs: usize) {
        let progress = Progress {
            fit: self.fit,
            n_fits: self.n_fits,
            max_epochs,
            epochs_before: self.epochs_before,
            record: *record,
        };
        if let Ok(events) = self.reporter.events.lock() {
            // Nobody listens once R has gone on: nothing is lost then.
            let _ = events.send(progress);
        }
    }
}

/// Runs `work`, of which a part is worth nothing, in a pool of `threads` threads, off R's thread. It is asked to stop
/// after Ctrl-C.
///
/// # Errors
/// What `work` returns; [`Error::Interrupted`] after Ctrl-C, also when the work was done by then: R has been told
/// that the interrupt was taken, and it must not be lost.
pub fn all_or_nothing<T: Send>(
    threads: usize,
    progress: &Robj,
    work: impl FnOnce(&Reporter) -> Result<T> + Send,
) -> Result<T> {
    match off_thread(threads, progress, work)? {
        (_, true) => Err(Error::Interrupted),
        (result, false) => Ok(result),
    }
}

/// Runs `work` in a pool of `threads` threads, off R's thread. `progress` is an R function or `NULL`. After Ctrl-C the
/// work is asked to stop and its result is waited for. Returns it, and whether there was a Ctrl-C.
///
/// # Errors
/// What `work` returns.
pub fn off_thread<T: Send>(
    threads: usize,
    progress: &Robj,
    work: impl FnOnce(&Reporter) -> Result<T> + Send,
) -> Result<(T, bool)> {
    let (sender, events) = channel();
    let reporter = Reporter {
        interrupts: AtomicUsize::new(0),
        events: Mutex::new(sender),
    };
    let (done, finished) = channel::<()>();
    std::thread::scope(|scope| {
        let reporter = &reporter;
        let worker = scope.spawn(move || {
            let _done_when_dropped = done;
            with_threads(threads, || work(reporter))
        });
        loop {
            let over = finished.recv_timeout(POLL) == Err(RecvTimeoutError::Disconnected);
            if let Some(latest) = events.try_iter().last() {
                if !show(progress, &latest) {
                    reporter.count_interrupt();
                }
            }
            if over {
                break;
            }
            if interrupted() {
                reporter.count_interrupt();
            }
        }
        let result = worker.join().unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()))
                .unwrap_or_else(|| "unknown".into());
            Err(Error::Tensor(candle_core::Error::Msg(format!(
                "panic: {message}"
            ))))
        });
        result.map(|result| (result, reporter.interrupts() > 0))
    })
}

/// Calls the R function; false when R wants the work to stop.
fn show(progress: &Robj, p: &Progress) -> bool {
    let Some(function) = progress.as_function() else {
        return true;
    };
    let r = &p.record;
    let done = (p.fit * p.max_epochs + r.epoch) as f64;
    let all = (p.n_fits * p.max_epochs) as f64;
    let timed = r.epoch.saturating_sub(p.epochs_before).max(1);
    let an_epoch = r.seconds.map_or(f64::NAN, |s| s / timed as f64);
    let info = list!(
        repeat_ = p.fit as i32 + 1,
        n_repeats = p.n_fits as i32,
        epoch = r.epoch as i32,
        max_epochs = p.max_epochs as i32,
        loss = r.elbo_train,
        validation = r.elbo_validation.unwrap_or_else(f64::na),
        eta_seconds = an_epoch * (all - done)
    );
    function.call(pairlist!(info)).is_ok()
}

// They jump out of C when the user interrupts: "C-unwind" allows that.
extern "C-unwind" {
    fn R_CheckUserInterrupt();
    fn R_ToplevelExec(
        fun: extern "C-unwind" fn(*mut std::ffi::c_void),
        data: *mut std::ffi::c_void,
    ) -> i32;
}

#[allow(unsafe_code)]
extern "C-unwind" fn check_interrupt(_: *mut std::ffi::c_void) {
    // SAFETY: called through R_ToplevelExec on R's thread, which catches the jump an interrupt makes; no Rust frame
    // with a destructor lies between.
    unsafe { R_CheckUserInterrupt() }
}

/// Whether the user pressed Ctrl-C since the last look. Only for R's thread.
#[allow(unsafe_code)]
pub fn interrupted() -> bool {
    // SAFETY: R's API, called on R's thread with a function that takes no data.
    unsafe { R_ToplevelExec(check_interrupt, std::ptr::null_mut()) == 0 }
}
