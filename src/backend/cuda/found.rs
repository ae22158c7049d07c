//! Which cards there are, and whether the libraries are that drive them.

#![allow(
    unsafe_code,
    reason = "asks the forwarders, which are C, what they miss"
)]

use std::ffi::{c_char, c_int, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

use candle_core::cuda_backend::cudarc::driver::{sys::CUresult, CudaContext, DriverError};

use super::Cuda;
use crate::backend::DeviceInfo;
use crate::{Error, Result};

unsafe extern "C" {
    /// Names the first library that is not there; null if all are. See `build.rs`.
    fn scvae_cuda_missing() -> *const c_char;
    /// The versions of CUDA of the toolkit that this was built with, and of the driver, 0 without one: 13000 for 13.0.
    fn scvae_cuda_versions(toolkit: *mut c_int, driver: *mut c_int);
}

/// The CUDA that this was built with, and the newest that the driver knows, if there is a driver.
pub(in crate::backend) fn versions() -> (String, Option<String>) {
    let (mut toolkit, mut driver) = (0, 0);
    // Safety: both are written before it returns.
    unsafe { scvae_cuda_versions(&mut toolkit, &mut driver) };
    let text = |version: c_int| format!("{}.{}", version / 1000, version % 1000 / 10);
    (text(toolkit), (driver > 0).then(|| text(driver)))
}

/// Why there is no card to be had; nothing if there is one.
pub(in crate::backend) fn missing() -> Option<String> {
    // Safety: a constant text, or null.
    let library = unsafe {
        let text = scvae_cuda_missing();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    match (library, n_cards()) {
        (Some(library), _) => Some(format!("what is missing is {library}")),
        (None, Ok(0)) => Some("no NVIDIA card was found".into()),
        (None, Ok(_)) => None,
        (None, Err(reason)) => Some(reason),
    }
}

fn n_cards() -> std::result::Result<usize, String> {
    // The crate beneath panics where a library or one of its functions is not as expected.
    match catch_unwind(CudaContext::device_count) {
        Ok(Ok(n)) => Ok(usize::try_from(n).unwrap_or(0)),
        Ok(Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE))) => Ok(0),
        Ok(Err(e)) => Err(format!("the driver says {e}")),
        Err(_) => Err("the driver is not one that this build can talk to".into()),
    }
}

/// The cards that can be had.
pub(in crate::backend) fn cards() -> Vec<DeviceInfo> {
    if missing().is_some() {
        return Vec::new();
    }
    let describe = |ordinal: usize| -> Option<DeviceInfo> {
        let context = CudaContext::new(ordinal).ok()?;
        let (major, minor) = context.compute_capability().ok()?;
        let gigabytes = context.total_mem().ok()? as f64 / f64::from(1 << 30);
        Some(DeviceInfo {
            name: format!("cuda:{ordinal}"),
            description: format!(
                "{}, {gigabytes:.0} GiB, compute capability {major}.{minor}",
                context.name().ok()?
            ),
        })
    };
    (0..n_cards().unwrap_or(0)).filter_map(describe).collect()
}

/// Whether there is a card of this number, without opening it.
///
/// # Errors
/// [`Error::Argument`] when it is not to be had, saying why.
pub(in crate::backend) fn check(ordinal: usize) -> Result<()> {
    match (missing(), n_cards()) {
        (Some(reason), _) | (None, Err(reason)) => Err(refused(ordinal, &reason)),
        (None, Ok(n)) if ordinal >= n => Err(refused(
            ordinal,
            &format!("cards found: {n}, the first is 0"),
        )),
        _ => Ok(()),
    }
}

/// Opens a card.
///
/// # Errors
/// As [`check`], and when one of its libraries fails.
pub(in crate::backend) fn open(ordinal: usize) -> Result<Cuda> {
    check(ordinal)?;
    match catch_unwind(AssertUnwindSafe(|| Cuda::new(ordinal))) {
        Ok(Ok(cuda)) => Ok(cuda),
        Ok(Err(e)) => Err(refused(ordinal, &e.to_string())),
        Err(_) => Err(refused(ordinal, "it could not be opened")),
    }
}

fn refused(ordinal: usize, reason: &str) -> Error {
    Error::Argument(format!(
        "device = \"cuda:{ordinal}\": {reason}; use device = \"cpu\" or \"auto\""
    ))
}
