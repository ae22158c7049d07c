//! Where a model is trained.

use candle_core::Device;

use crate::{Error, Result};

/// The device of a setting. `auto` is the CPU: the kernels have no CUDA form yet.
///
/// # Errors
/// [`Error::Argument`] for a name that is none of `auto`, `cpu`, `cuda`, or a device that is not to be had.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "auto" | "cpu" => Ok(Device::Cpu),
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
