//! Where a model is trained.

use crate::{Error, Result};

/// Whether the device of a setting can be had. `auto` is the CPU: there is no backend for CUDA yet.
///
/// # Errors
/// [`Error::Argument`] for a name that is none of `auto`, `cpu`, `cuda`, or a device that is not to be had.
pub fn check_device(name: &str) -> Result<()> {
    match name {
        "auto" | "cpu" => Ok(()),
        "cuda" => Err(Error::Argument(
            "device = \"cuda\": this version trains on the CPU only; use device = \"auto\"".into(),
        )),
        other => Err(Error::Argument(format!(
            "device must be \"auto\", \"cpu\" or \"cuda\", not \"{other}\""
        ))),
    }
}

/// Names of the devices that can be had.
pub fn devices() -> Vec<String> {
    vec!["cpu".into()]
}
