//! The same model on a graphics card. Without one these tests run on the processor, which then plays the card: see
//! `tests/cuda_on_cpu`. On a machine with a card the same program is the test of the card.

mod gradients;
mod operations;
mod problem;
mod trainings;

use std::sync::OnceLock;

use scvae::backend::Cuda;

/// The card, opened once.
fn card() -> &'static Cuda {
    static CARD: OnceLock<Cuda> = OnceLock::new();
    CARD.get_or_init(|| Cuda::new(0).expect("these tests need a card, or what plays one"))
}
