//! The door to R: converts what R gives, runs the work where R can interrupt it, and reports. Nothing is computed here.
//!
//! Every function fails with a message of the form `<condition class>\u{1f}<text>`, which the R side signals as a
//! classed condition.

mod consensus;
mod convert;
mod files;
mod fit;
mod map;
mod run;
mod score;
mod trained;

use extendr_api::prelude::*;

/// Versions of the crate and of what it stands on, and the optional parts it was built with.
/// @noRd
#[extendr]
fn rs_version() -> List {
    let features: Vec<&str> = if cfg!(feature = "cuda") {
        vec!["cuda"]
    } else {
        vec![]
    };
    let (toolkit, driver) = crate::backend::cuda_versions();
    let text = |version: Option<String>| version.map_or(().into(), Robj::from);
    list!(
        version = env!("CARGO_PKG_VERSION"),
        features = features,
        hdf5 = crate::counts::hdf5_version(),
        cuda_toolkit = text(toolkit),
        cuda_driver = text(driver)
    )
}

/// Devices that models can be trained on here, and why there is no graphics card among them.
/// @noRd
#[extendr]
fn rs_devices() -> List {
    let devices = crate::backend::devices();
    let (names, descriptions): (Vec<String>, Vec<String>) =
        devices.into_iter().map(|d| (d.name, d.description)).unzip();
    list!(
        names = names,
        descriptions = descriptions,
        cuda_missing = crate::backend::cuda_missing().map_or(().into(), Robj::from)
    )
}

/// Whether graphics cards may round the factors of dense products to ten bits.
/// @noRd
#[extendr]
fn rs_allow_tf32(allowed: bool) {
    crate::backend::allow_tf32(allowed);
}

/// Threads that this process can run at once, by its affinity and its control group; 1 if that cannot be known.
/// @noRd
#[extendr]
fn rs_available_threads() -> i32 {
    std::thread::available_parallelism().map_or(1, |n| i32::try_from(n.get()).unwrap_or(i32::MAX))
}

extendr_module! {
    mod scvae;
    fn rs_version;
    fn rs_devices;
    fn rs_allow_tf32;
    fn rs_available_threads;
    use consensus;
    use files;
    use fit;
    use map;
    use score;
    use trained;
}
