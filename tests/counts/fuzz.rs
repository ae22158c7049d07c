//! Small files damaged at many places: each is read or refused, and nothing panics.

use std::ops::Range;
use std::path::Path;

use hdf5::types::TypeDescriptor::{VarLenAscii, VarLenUnicode};
use scvae::Error;

use super::h5ad::small;
use super::loom;
use super::obs;
use super::tenx;
use super::unstopped;
use super::write::{self, Encoding, Storage, Written};

/// A stream of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// Where a file keeps the numbers and the text of fixed length of its datasets.
///
/// What lies between is the library's own, and not all releases of it survive its damage: HDF5 1.10.8 reads a damaged
/// heap for ever and crashes over a damaged layout.
fn stored(group: &hdf5::Group) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for dataset in group.datasets().unwrap() {
        let kind = dataset.dtype().unwrap().to_descriptor().unwrap();
        let in_heap = matches!(kind, VarLenUnicode | VarLenAscii);
        if let (Some(start), false) = (dataset.offset(), in_heap) {
            ranges.push(start as usize..start as usize + dataset.storage_size() as usize);
        }
    }
    for group in group.groups().unwrap() {
        ranges.extend(stored(&group));
    }
    ranges
}

fn damaged(bytes: &[u8], stored: &[Range<usize>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let range = stored[numbers.below(stored.len())].clone();
    let at = range.start + numbers.below(range.len());
    match numbers.below(5) {
        0 => bytes[at] ^= 1 << numbers.below(8),
        1 => bytes[at] = [0, 1, 0x7f, 0xff][numbers.below(4)],
        2 => {
            let value = [1u64 << 20, 1 << 40, u64::MAX, 1 << 63][numbers.below(4)].to_le_bytes();
            let n = value.len().min(range.end - at);
            bytes[at..at + n].copy_from_slice(&value[..n]);
        }
        3 => bytes[at..range.end].fill([0, 0xff][numbers.below(2)]),
        _ => bytes.truncate(numbers.below(bytes.len())),
    }
    bytes
}

fn read_or_refused(path: &Path, what: &str) -> bool {
    let mut whole = true;
    let mut check = |result: Result<(), Error>| match result {
        Ok(()) => {}
        Err(Error::File(text) | Error::Counts(text) | Error::Argument(text)) => {
            whole = false;
            assert!(
                text.contains("fuzzed"),
                "{what}: {text} does not name the file"
            );
        }
        Err(e) => panic!("{what}: {e:?}"),
    };
    check(unstopped::read(path, None).map(|_| ()));
    for column in unstopped::obs_columns(path).unwrap_or_default() {
        check(unstopped::obs_column(path, &column).map(|_| ()));
    }
    whole
}

fn fuzz(written: Written, seed: u64, times: usize) {
    let stored = stored(written.root());
    let written = written.closed();
    let bytes = std::fs::read(&written.path).unwrap();
    let path = written.path.with_file_name("fuzzed");
    std::fs::write(&path, &bytes).unwrap();
    assert!(unstopped::read(&path, None).is_ok());
    let mut numbers = Numbers(seed);
    let mut refused = 0;
    for time in 0..times {
        let what = format!("seed {seed}, time {time}");
        std::fs::write(&path, damaged(&bytes, &stored, &mut numbers)).unwrap();
        refused += usize::from(!read_or_refused(&path, &what));
    }
    assert!(
        refused > times / 10,
        "only {refused} of {times} were refused"
    );
}

#[test]
fn damaged_files_are_read_or_refused() {
    let times = std::env::var("SCVAE_FUZZ").map_or(300, |n| n.parse().unwrap());
    let storage = Storage {
        chunk: None,
        ..Storage::default()
    };
    let csr = Encoding::Csr { reversed: true };
    fuzz(obs::file(), 1, times);
    fuzz(write::h5ad(&small(), Encoding::Csc, storage), 2, times);
    fuzz(write::h5ad(&small(), csr, storage), 3, times);
    fuzz(loom::file(&small(), storage), 5, times);
    fuzz(tenx::version_3(&small(), &["A", "B", "A"], None), 4, times);
}
