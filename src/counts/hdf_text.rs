//! Text in HDF5: of variable or fixed length, in datasets and attributes.

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Container, Dataset, H5Type};

use super::hdf::{Hdf, Length, Written};
use crate::{Error, Result};

/// The longest text of a fixed length, in bytes.
const LONGEST: usize = 1 << 16;

/// Reads as a type of text that has room for the file's: HDF5 converts between lengths of fixed text, but not between
/// kinds of text. `$read` is a macro called with the type, and `$other` what to do with all else.
macro_rules! with_text_type {
    ($kind:expr, $read:ident, $other:expr) => {
        match $kind {
            TypeDescriptor::VarLenUnicode => $read!(VarLenUnicode),
            TypeDescriptor::VarLenAscii => $read!(VarLenAscii),
            TypeDescriptor::FixedAscii(..=16) => $read!(FixedAscii<16>),
            TypeDescriptor::FixedAscii(..=64) => $read!(FixedAscii<64>),
            TypeDescriptor::FixedAscii(..=256) => $read!(FixedAscii<256>),
            TypeDescriptor::FixedAscii(..=4096) => $read!(FixedAscii<4096>),
            TypeDescriptor::FixedAscii(..=LONGEST) => $read!(FixedAscii<LONGEST>),
            TypeDescriptor::FixedUnicode(..=16) => $read!(FixedUnicode<16>),
            TypeDescriptor::FixedUnicode(..=64) => $read!(FixedUnicode<64>),
            TypeDescriptor::FixedUnicode(..=256) => $read!(FixedUnicode<256>),
            TypeDescriptor::FixedUnicode(..=4096) => $read!(FixedUnicode<4096>),
            TypeDescriptor::FixedUnicode(..=LONGEST) => $read!(FixedUnicode<LONGEST>),
            other => $other(other),
        }
    };
}

/// All text of a dataset.
pub(super) fn strings(hdf: &Hdf, place: &str, length: Length) -> Result<Vec<String>> {
    let dataset = hdf.dataset(place)?;
    let n = hdf.checked_length(&dataset, place, length)?;
    macro_rules! read {
        ($t:ty) => {
            in_blocks::<$t>(hdf, &dataset, place, n, length)
        };
    }
    with_text_type!(descriptor(hdf, &dataset, place)?, read, |kind| {
        Err(
        match kind {
            TypeDescriptor::FixedAscii(bytes) | TypeDescriptor::FixedUnicode(bytes) =>
                hdf.error(format_args!(
                    "stores {place} as text of {bytes} bytes each, more than the {LONGEST} that this package reads"
                )),
            _ => hdf.error(format_args!("holds {place}, but it is not text")),
        }
    )
    })
}

/// All elements of a text attribute, `None` if it is absent or not text.
pub(super) fn attribute(hdf: &Hdf, place: &str, name: &str) -> Result<Option<Vec<String>>> {
    let Some(attribute) = hdf.attribute(place, name)? else {
        return Ok(None);
    };
    let shown = format!("{place}, attribute {name}");
    macro_rules! read {
        ($t:ty) => {
            attribute
                .read_raw::<$t>()
                .map_err(|e| hdf.broken(&shown, &e))?
                .iter()
                .map(|text| decode(hdf, &shown, text.as_ref()))
                .collect::<Result<Vec<String>>>()
                .map(Some)
        };
    }
    with_text_type!(descriptor(hdf, &attribute, &shown)?, read, |_| Ok(None))
}

/// The type of what is stored.
pub(super) fn descriptor(hdf: &Hdf, container: &Container, place: &str) -> Result<TypeDescriptor> {
    container
        .dtype()
        .and_then(|t| t.to_descriptor())
        .map_err(|e| hdf.broken(place, &e))
}

fn in_blocks<T: H5Type + AsRef<[u8]>>(
    hdf: &Hdf,
    dataset: &Dataset,
    place: &str,
    n: usize,
    length: Length,
) -> Result<Vec<String>> {
    let mut strings = hdf.room(n)?;
    let mut written = Written::new(length);
    // The width of a block counts in double precision.
    let width = size_of::<T>().div_ceil(size_of::<f64>());
    for range in hdf.ranges(dataset, place, n, width)? {
        let block: Vec<T> = hdf.part(dataset, place, range)?;
        let block: Vec<String> = block
            .iter()
            .map(|text| decode(hdf, place, text.as_ref()))
            .collect::<Result<_>>()?;
        written.check(hdf, place, &block)?;
        strings.extend(block);
    }
    Ok(strings)
}

/// Padding after the first zero byte is not text. Nothing promises that the rest is UTF-8, and HDF5 does not say what
/// else it is: to guess would give names that match no others.
fn decode(hdf: &Hdf, place: &str, bytes: &[u8]) -> Result<String> {
    let text = bytes.split(|&b| b == 0).next().unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(not_utf8(hdf, place, text)),
    }
}

fn not_utf8(hdf: &Hdf, place: &str, text: &[u8]) -> Error {
    hdf.error(format_args!(
        "holds text in {place} that is not UTF-8, such as '{}'; write its text as UTF-8 and save the file again",
        String::from_utf8_lossy(text)
    ))
}
