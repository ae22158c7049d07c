//! Independent work beside each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Barrier;

use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::filter;
use scvae::model::Settings;
use scvae::results::{repeat_fits, settings_of_fit};
use scvae::sampling::Split;
use scvae::training::{side_by_side, with_threads, Monitor, Silent, TrainingCells};
use scvae::Error;

use crate::simulated::{settings, simulated};

#[test]
fn there_are_as_many_at_a_time_as_threads_and_the_threads_are_shared_out() {
    // Were fewer at work at a time than three, this would wait for ever.
    let meet = Barrier::new(3);
    let work = |_| {
        meet.wait();
        Ok(rayon::current_num_threads())
    };
    let shares = with_threads(7, || side_by_side(&Cpu, 3, work)).unwrap();
    let mut shares: Vec<usize> = shares.into_iter().flatten().collect();
    shares.sort_unstable();
    assert_eq!(shares, [2, 2, 3]);
    let alone = with_threads(2, || {
        side_by_side(&Cpu, 1, |_| Ok(rayon::current_num_threads()))
    });
    assert_eq!(alone.unwrap(), [Some(2)]);
    let none = with_threads(2, || side_by_side(&Cpu, 0, Ok)).unwrap();
    assert_eq!(none, []);
}

#[test]
fn what_was_done_before_an_interruption_is_kept_and_nothing_is_begun_after_it() {
    let begun = AtomicUsize::new(0);
    let work = |number| {
        begun.fetch_add(1, Ordering::Relaxed);
        match number {
            2 => Err(Error::Interrupted),
            _ => Ok(number),
        }
    };
    let made = with_threads(1, || side_by_side(&Cpu, 5, work)).unwrap();
    assert_eq!(made, [Some(0), Some(1), None, None, None]);
    assert_eq!(begun.into_inner(), 3);
}

#[test]
fn the_first_error_is_returned() {
    let work = |number| match number {
        0 => Ok(()),
        _ => Err(Error::Numerical(format!("of number {number}"))),
    };
    for threads in [1, 4] {
        let error = with_threads(threads, || side_by_side(&Cpu, 4, work)).unwrap_err();
        assert!(error.to_string().contains("of number 1"), "{error}");
    }
}

fn with_cells(check: impl FnOnce(TrainingCells)) {
    let (matrix, batch) = simulated(60, 80, 12);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch: Vec<usize> = view.cells().iter().map(|&cell| batch[cell]).collect();
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &Design::single(2),
    };
    check(cells);
}

#[test]
fn fits_that_are_compared_have_the_same_validation_cells() {
    let batch: Vec<usize> = (0..100).map(|cell| cell % 2).collect();
    let of_fits = [0, 1, 2].map(|number| settings_of_fit(&settings(), number));
    let validation = |s: &Settings| Split::draw(&batch, 2, 0.8, s.validation_streams()).validation;
    let [first, second, third] = of_fits.each_ref().map(validation);
    assert_eq!(first, second);
    assert_eq!(first, third);
    let seeds = of_fits.map(|s| s.seed);
    assert_eq!(seeds[0], settings().seed);
    assert!(seeds[1] != seeds[0] && seeds[2] != seeds[0] && seeds[1] != seeds[2]);
}

#[test]
fn repeated_fits_are_the_same_side_by_side() {
    with_cells(same_side_by_side);
}

fn same_side_by_side(cells: TrainingCells) {
    let fits = |threads| {
        let mut finished = 0;
        let mut count = |_: &_| {
            finished += 1;
            Ok(())
        };
        let fit = || repeat_fits(cells, &settings(), &Cpu, &[3, 0, 1], |_| Silent, &mut count);
        let fits = with_threads(threads, fit).unwrap();
        assert_eq!(finished, 3);
        fits
    };
    let one_by_one = fits(1);
    assert_eq!(
        one_by_one.iter().map(|fit| fit.number).collect::<Vec<_>>(),
        [3, 0, 1]
    );
    assert_eq!(fits(3), one_by_one);
    assert_eq!(fits(5), one_by_one);
}

/// Stops at once.
struct Stopping;

impl Monitor for Stopping {
    fn should_stop(&self) -> bool {
        true
    }
}

#[test]
fn fits_that_are_all_stopped_are_an_interruption() {
    with_cells(|cells| {
        let fits = repeat_fits(cells, &settings(), &Cpu, &[0, 1], |_| Stopping, &mut |_| {
            Ok(())
        });
        assert!(matches!(fits, Err(Error::Interrupted)));
    });
}
