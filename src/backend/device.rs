//! Where a model is trained: the processor, or a graphics card that is found when the program runs.

use super::{Backend, Cpu};
use crate::{Error, Result};

/// What is done on a device once it is chosen.
pub trait OnDevice {
    /// What comes out.
    type Output;

    /// Does it.
    ///
    /// # Errors
    /// As the work itself.
    fn run<B: Backend>(self, backend: &B) -> Result<Self::Output>;
}

/// Does the work on the device of this name: `cpu`, `cuda` (the first card), `cuda:1` (the second), or `auto`: the first
/// card if there is one, else the processor.
///
/// # Errors
/// [`Error::Argument`] for another name or a device that is not to be had, and what the work returns.
pub fn on_device<W: OnDevice>(name: &str, work: W) -> Result<W::Output> {
    match Wanted::of(name)? {
        Wanted::Cpu => work.run(&Cpu),
        #[cfg(feature = "cuda")]
        Wanted::Card(ordinal) => on_card(&super::cuda::open(ordinal)?, work),
        #[cfg(feature = "cuda")]
        Wanted::Any => match super::cuda::open(0) {
            Ok(card) => on_card(&card, work),
            Err(_) => work.run(&Cpu),
        },
        #[cfg(not(feature = "cuda"))]
        Wanted::Card(_) => Err(no_cuda(name)),
        #[cfg(not(feature = "cuda"))]
        Wanted::Any => work.run(&Cpu),
    }
}

/// A card whose memory is used up says so in its own words; these name the cure.
#[cfg(feature = "cuda")]
fn on_card<W: OnDevice>(card: &super::Cuda, work: W) -> Result<W::Output> {
    work.run(card).map_err(|e| match e.to_string().contains("OUT_OF_MEMORY") {
        true => Error::Argument(format!(
            "the graphics card has too little memory ({}): use a smaller batch_size, fewer genes (min_cells) or device = \
             \"cpu\"",
            card.memory()
        )),
        false => e,
    })
}

/// Whether the device of this name can be had.
///
/// # Errors
/// [`Error::Argument`] as [`on_device`].
pub fn check_device(name: &str) -> Result<()> {
    match Wanted::of(name)? {
        Wanted::Cpu | Wanted::Any => Ok(()),
        #[cfg(feature = "cuda")]
        Wanted::Card(ordinal) => super::cuda::check(ordinal),
        #[cfg(not(feature = "cuda"))]
        Wanted::Card(_) => Err(no_cuda(name)),
    }
}

#[cfg(not(feature = "cuda"))]
fn no_cuda(name: &str) -> Error {
    Error::Argument(format!(
        "device = \"{name}\": this build trains on the CPU only; use device = \"auto\", or install the package anew with \
         SCVAE_CUDA=1 where nvcc is"
    ))
}

/// Whether cards may round the factors of dense products to ten bits of mantissa (TF32), which is faster; off unless this
/// is called. It holds for the whole process.
pub fn allow_tf32(allowed: bool) {
    candle_core::cuda::set_gemm_reduced_precision_f32(allowed);
}

/// A device that can be had, or the reason why there is none of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// As `device` names it.
    pub name: String,
    /// What it is.
    pub description: String,
}

/// The devices that can be had.
pub fn devices() -> Vec<DeviceInfo> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = DeviceInfo {
        name: "cpu".into(),
        description: format!("{threads} threads, {}", instructions()),
    };
    #[cfg(feature = "cuda")]
    let cards = super::cuda::cards();
    #[cfg(not(feature = "cuda"))]
    let cards = Vec::new();
    [vec![processor], cards].concat()
}

/// Why there is no graphics card to be had; nothing if there is one.
pub fn cuda_missing() -> Option<String> {
    #[cfg(feature = "cuda")]
    return super::cuda::missing();
    #[cfg(not(feature = "cuda"))]
    Some("this build is for the CPU only".into())
}

/// Versions of CUDA: of the toolkit that this was built with, and the newest that the driver knows; none in a build for the
/// processor, and no driver's where there is none.
pub fn cuda_versions() -> (Option<String>, Option<String>) {
    #[cfg(feature = "cuda")]
    return {
        let (toolkit, driver) = super::cuda::versions();
        (Some(toolkit), driver)
    };
    #[cfg(not(feature = "cuda"))]
    (None, None)
}

/// The widest vector instructions of the processor that the kernels use.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if pulp::x86::V4::try_new().is_some() {
            return "AVX-512";
        }
        if pulp::x86::V3::try_new().is_some() {
            return "AVX2";
        }
    }
    "vectors of the compiler's choice"
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Cpu,
    Card(usize),
    Any,
}

impl Wanted {
    fn of(name: &str) -> Result<Self> {
        let number = name.strip_prefix("cuda:").map(str::parse);
        match (name, number) {
            ("auto", _) => Ok(Wanted::Any),
            ("cpu", _) => Ok(Wanted::Cpu),
            ("cuda", _) => Ok(Wanted::Card(0)),
            (_, Some(Ok(ordinal))) => Ok(Wanted::Card(ordinal)),
            _ => Err(Error::Argument(format!(
                "device must be \"auto\", \"cpu\", \"cuda\" or \"cuda:1\", not \"{name}\""
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_or_refused() {
        assert_eq!(Wanted::of("auto").unwrap(), Wanted::Any);
        assert_eq!(Wanted::of("cuda").unwrap(), Wanted::Card(0));
        assert_eq!(Wanted::of("cuda:3").unwrap(), Wanted::Card(3));
        for name in ["gpu", "cuda:", "cuda:-1", "CUDA"] {
            assert!(Wanted::of(name).unwrap_err().to_string().contains(name));
        }
        check_device("cpu").unwrap();
        check_device("auto").unwrap();
        assert_eq!(devices()[0].name, "cpu");
    }
}
