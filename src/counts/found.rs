//! Which of several matrices of a file holds the counts: values of each are looked at.

use std::ops::Range;

use super::hdf::{Hdf, Kind};
use super::matrix::fault;
use crate::{Error, Result};

/// Layers that are called so are looked at before all others.
const CALLED_COUNTS: [&str; 8] = [
    "counts",
    "raw_counts",
    "count",
    "raw",
    "counts_raw",
    "umi",
    "umis",
    "umi_counts",
];

/// Values looked at in each of three parts of a matrix.
const VALUES: usize = 1 << 16;

/// A matrix of a file.
pub(super) struct Candidate {
    /// As `layer` says it.
    pub name: String,
    /// Where it lies.
    pub place: String,
}

/// What the values of a matrix are.
enum Values {
    Counts,
    AllZero,
    Other(String),
}

/// Which candidate holds counts, and which were passed over before it, with the reason. `main` says how many of the
/// first come before layers of any name: X, raw. A single candidate is not looked at: reading it tells more.
///
/// # Errors
/// [`Error::Counts`] when none does, or when several layers do and none stands out by its name.
pub(super) fn find(
    hdf: &Hdf,
    candidates: &[Candidate],
    main: usize,
) -> Result<(usize, Vec<(String, String)>)> {
    if candidates.len() == 1 {
        return Ok((0, Vec::new()));
    }
    let (mut passed_over, mut empty, mut others) = (Vec::new(), None, Vec::new());
    for (i, stands_out) in order(candidates, main) {
        let candidate = &candidates[i];
        match look_at(hdf, &candidate.place)? {
            Values::Counts if stands_out => return Ok((i, passed_over)),
            Values::Counts => others.push(i),
            Values::AllZero => {
                empty.get_or_insert(i);
                passed_over.push((candidate.name.clone(), "holds nothing but zeros".into()));
            }
            Values::Other(why) => passed_over.push((candidate.name.clone(), why)),
        }
    }
    match (&others[..], empty) {
        ([only], _) => Ok((*only, passed_over)),
        ([], Some(empty)) => Ok((empty, Vec::new())),
        ([], None) => {
            let looked: Vec<String> = passed_over
                .iter()
                .map(|(name, why)| format!("{name} {why}"))
                .collect();
            Err(Error::Counts(format!(
                "'{}' holds no raw counts, which are needed: {}",
                hdf.path(),
                looked.join("; ")
            )))
        }
        (several, _) => {
            let names: Vec<String> = several
                .iter()
                .map(|&i| candidates[i].name.clone())
                .collect();
            Err(Error::Counts(format!(
                "'{}' holds whole numbers in several layers; choose one with `layer` from {}",
                hdf.path(),
                super::hdf::quoted(&names)
            )))
        }
    }
}

/// The order in which candidates are looked at, and whether one is taken as soon as it holds counts: the first, layers
/// called counts, what else comes before layers.
fn order(candidates: &[Candidate], main: usize) -> Vec<(usize, bool)> {
    let rank = |i: usize| {
        let called = CALLED_COUNTS
            .iter()
            .position(|name| layer_name(&candidates[i].name).eq_ignore_ascii_case(name));
        match (i, called) {
            (0, _) if main > 0 => 0,
            (i, _) if i < main => 1 + CALLED_COUNTS.len(),
            (_, Some(position)) => 1 + position,
            (_, None) => usize::MAX,
        }
    };
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&i| rank(i));
    let stands_out = |i| (i, rank(i) < usize::MAX);
    order.into_iter().map(stands_out).collect()
}

/// A layer's own name, where its place was said to tell it from another matrix.
fn layer_name(name: &str) -> &str {
    name.strip_prefix("layers/").unwrap_or(name)
}

fn look_at(hdf: &Hdf, place: &str) -> Result<Values> {
    match judge(hdf, place) {
        // Another may hold the counts.
        Err(Error::File(why)) => Ok(Values::Other(format!("cannot be read ({why})"))),
        values => values,
    }
}

fn judge(hdf: &Hdf, place: &str) -> Result<Values> {
    let is_dense = hdf.kind(place) == Some(Kind::Dataset);
    let stored = if is_dense {
        place.to_string()
    } else {
        format!("{place}/data")
    };
    let dataset = hdf.dataset(&stored)?;
    let shape = dataset.shape();
    let (length, width) = match (&shape[..], is_dense) {
        (&[rows, columns], true) => (rows, columns),
        (&[n], false) => (n, 1),
        _ => return Ok(Values::Other(format!("is of shape {shape:?}"))),
    };
    let mut above_zero = false;
    for rows in parts(length, (VALUES / width.max(1)).max(1)) {
        let values = if is_dense {
            // Rows wider than that are cut.
            hdf.tile(&dataset, &stored, rows, 0..width.min(VALUES))?
        } else {
            hdf.part(&dataset, &stored, rows)?
        };
        for value in values {
            if let Some(fault) = fault(value) {
                return Ok(Values::Other(format!("holds {value}, {fault}")));
            }
            above_zero |= value > 0.0;
        }
    }
    Ok(match above_zero {
        true => Values::Counts,
        false => Values::AllZero,
    })
}

/// The first, the middle and the last part of `n` steps.
fn parts(n: usize, length: usize) -> Vec<Range<usize>> {
    if n <= 3 * length {
        return (0..n)
            .step_by(length)
            .map(|start| start..(start + length).min(n))
            .collect();
    }
    [0, (n - length) / 2, n - length]
        .into_iter()
        .map(|start| start..start + length)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{order, parts, Candidate};

    #[test]
    fn names_that_say_counts_come_before_raw_and_other_layers() {
        let names = ["X", "raw", "logcounts", "UMIs", "counts", "spliced"];
        let candidates: Vec<Candidate> = names
            .iter()
            .map(|name| Candidate {
                name: name.to_string(),
                place: String::new(),
            })
            .collect();
        let order: Vec<(&str, bool)> = order(&candidates, 2)
            .into_iter()
            .map(|(i, stands_out)| (names[i], stands_out))
            .collect();
        let expected = [
            ("X", true),
            ("counts", true),
            ("UMIs", true),
            ("raw", true),
            ("logcounts", false),
            ("spliced", false),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn parts_lie_within_and_reach_both_ends() {
        assert!(parts(0, 4).is_empty());
        assert_eq!(parts(5, 4), [0..4, 4..5]);
        assert_eq!(parts(100, 4), [0..4, 48..52, 96..100]);
    }
}
