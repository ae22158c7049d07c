//! Long work on a thread of its own, while R's thread shows progress and listens for Ctrl-C.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use extendr_api::prelude::*;

use crate::model::EpochRecord;
use crate::training::{with_threads, Monitor};
use crate::{Error, Result};

/// How often R's thread looks for an interrupt.
const POLL: Duration = Duration::from_millis(50);

/// Which of how many fits, and what was there before this work began.
#[derive(Clone, Copy)]
pub struct FitPlace {
    /// Of `n_fits`, from 0.
    pub fit: usize,
    pub n_fits: usize,
    /// Fits that were made before.
    pub fits_before: usize,
    /// Epochs of this one that were over before.
    pub epochs_before: usize,
}

impl FitPlace {
    pub const ALONE: FitPlace = FitPlace {
        fit: 0,
        n_fits: 1,
        fits_before: 0,
        epochs_before: 0,
    };
}

/// What the working thread says.
enum Event {
    /// An epoch is over.
    Epoch {
        place: FitPlace,
        max_epochs: usize,
        record: EpochRecord,
    },
    /// A fit is over, perhaps before its last epoch.
    FitOver(FitPlace),
}

/// The working thread's end: reports epochs, learns of interrupts.
pub struct Reporter {
    interrupts: AtomicUsize,
    events: Mutex<Sender<Event>>,
}

impl Reporter {
    /// How often Ctrl-C was pressed since the work began.
    pub fn interrupts(&self) -> usize {
        self.interrupts.load(Ordering::Relaxed)
    }

    fn count_interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
    }

    fn send(&self, event: Event) {
        if let Ok(events) = self.events.lock() {
            // Nobody listens once R has gone on: nothing is lost then.
            let _ = events.send(event);
        }
    }
}

/// What a fit sees of the reporter.
pub struct FitMonitor<'a> {
    pub reporter: &'a Reporter,
    pub place: FitPlace,
}

impl Monitor for FitMonitor<'_> {
    fn should_stop(&self) -> bool {
        self.reporter.interrupts() > 0
    }

    fn epoch_done(&self, record: &EpochRecord, max_epochs: usize) {
        self.reporter.send(Event::Epoch {
            place: self.place,
            max_epochs,
            record: *record,
        });
    }
}

impl Drop for FitMonitor<'_> {
    fn drop(&mut self) {
        self.reporter.send(Event::FitOver(self.place));
    }
}

/// How far all fits of a work are together.
struct Tally {
    began: Instant,
    /// Epochs that are over, by the number of the fit, and those of them that were over before.
    epochs: BTreeMap<usize, (usize, usize)>,
    /// The last epoch.
    last: Option<(FitPlace, usize, EpochRecord)>,
}

impl Tally {
    fn new() -> Self {
        Tally {
            began: Instant::now(),
            epochs: BTreeMap::new(),
            last: None,
        }
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Epoch {
                place,
                max_epochs,
                record,
            } => {
                let epochs = (record.epoch, place.epochs_before);
                self.epochs.insert(place.fit, epochs);
                self.last = Some((place, max_epochs, record));
            }
            Event::FitOver(place) => {
                let epochs = (usize::MAX, place.epochs_before);
                self.epochs.insert(place.fit, epochs);
            }
        }
    }

    /// What R shows; `None` before the first epoch.
    fn report(&self) -> Option<List> {
        let (place, max_epochs, record) = self.last.as_ref()?;
        let before = place.fits_before * max_epochs;
        let over = |&(epochs, _): &(usize, usize)| epochs.min(*max_epochs);
        let done = before + self.epochs.values().map(over).sum::<usize>();
        let known = before + self.epochs.values().map(|(_, known)| known).sum::<usize>();
        let all = place.n_fits * max_epochs;
        let made = done.saturating_sub(known).max(1) as f64;
        let an_epoch = self.began.elapsed().as_secs_f64() / made;
        let complete = self.epochs.values().filter(|(n, _)| n >= max_epochs);
        Some(list!(
            done = done as f64,
            all = all as f64,
            fits_done = (place.fits_before + complete.count()) as i32,
            n_fits = place.n_fits as i32,
            loss = record.elbo_train,
            validation = record.elbo_validation.unwrap_or_else(f64::na),
            eta_seconds = an_epoch * all.saturating_sub(done) as f64
        ))
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
    let mut tally = Tally::new();
    std::thread::scope(|scope| {
        let reporter = &reporter;
        let worker = scope.spawn(move || {
            let _done_when_dropped = done;
            with_threads(threads, || work(reporter))
        });
        loop {
            let over = finished.recv_timeout(POLL) == Err(RecvTimeoutError::Disconnected);
            let news: Vec<Event> = events.try_iter().collect();
            if !news.is_empty() {
                news.into_iter().for_each(|event| tally.add(event));
                if !show(progress, &tally) {
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
fn show(progress: &Robj, tally: &Tally) -> bool {
    let Some(function) = progress.as_function() else {
        return true;
    };
    match tally.report() {
        Some(report) => function.call(pairlist!(report)).is_ok(),
        None => true,
    }
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
