//! Memory of the host that counts are written to before the card fetches them.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, PinnedHostSlice};
use candle_core::Result as CandleResult;

use super::card::Card;

/// How much larger than asked for memory is made, so that the next mini-batch fits too if it is a little larger.
const ROOM: f64 = 1.25;

/// Pinned memory, which the card fetches from by itself while the host goes on. It is handed out and comes back: with one
/// mini-batch on its way and the next being written there are two pieces of it.
#[derive(Debug)]
pub(super) struct Staging {
    card: Card,
    free: Mutex<Vec<PinnedHostSlice<u8>>>,
}

impl Staging {
    pub(super) fn new(card: &Card) -> Self {
        Staging {
            card: card.clone(),
            free: Mutex::default(),
        }
    }

    /// Memory that `write` has written to, so many bytes or more; ordinary memory when no pinned memory can be had.
    pub(super) fn write(
        self: &Arc<Self>,
        n_bytes: usize,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> HostBytes {
        let known = self.pieces().pop().filter(|piece| piece.len() >= n_bytes);
        let room = (n_bytes as f64 * ROOM) as usize;
        let piece = known.map_or_else(|| self.card.pinned(room), Ok);
        if let Ok(mut piece) = piece {
            // Waits until the card has fetched what was written here before.
            if let Ok(bytes) = piece.as_mut_slice() {
                write(bytes);
                return HostBytes::Pinned(Pinned {
                    piece: Some(piece),
                    of: self.clone(),
                });
            }
        }
        HostBytes::ordinary(n_bytes, write)
    }

    fn pieces(&self) -> std::sync::MutexGuard<'_, Vec<PinnedHostSlice<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes on the host.
#[derive(Debug)]
pub(super) enum HostBytes {
    Ordinary(Vec<u8>),
    Pinned(Pinned),
}

/// Pinned memory, until nobody needs it any more.
#[derive(Debug)]
pub(super) struct Pinned {
    /// There until it goes back.
    piece: Option<PinnedHostSlice<u8>>,
    of: Arc<Staging>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.of.pieces().extend(self.piece.take());
    }
}

impl HostBytes {
    /// Memory of so many bytes that `write` has written to.
    pub(super) fn ordinary(n_bytes: usize, write: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = vec![0; n_bytes];
        write(&mut bytes);
        HostBytes::Ordinary(bytes)
    }

    /// # Errors
    /// When memory cannot be had.
    pub(super) fn to_card(&self, card: &Card) -> CandleResult<CudaSlice<u8>> {
        match self {
            HostBytes::Ordinary(bytes) => card.copy(bytes),
            HostBytes::Pinned(pinned) => match &pinned.piece {
                Some(piece) => card.fetch(piece),
                None => card.copy(&[]),
            },
        }
    }
}
