//! The same model on a graphics card. Without one these tests run on the processor, which then plays the card: see
//! `tests/cuda_on_cpu`. On a machine with a card the same program is the test of the card.

mod gradients;
mod operations;
mod problem;
mod trainings;

use std::sync::OnceLock;

use scvae::backend::{allow_tf32, Cuda};

/// Whether the tests are to be made with factors of ten bits (`SCVAE_TF32=1`).
fn tf32() -> bool {
    std::env::var("SCVAE_TF32").is_ok_and(|v| v == "1")
}

/// The card, opened once.
fn card() -> &'static Cuda {
    static CARD: OnceLock<Cuda> = OnceLock::new();
    CARD.get_or_init(|| {
        allow_tf32(tf32());
        Cuda::new(0).expect("these tests need a card, or what plays one")
    })
}

/// The error that is allowed: so much in single precision.
fn error(single: f64) -> f64 {
    if tf32() {
        single.max(1e-2)
    } else {
        single
    }
}
