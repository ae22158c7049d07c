//! Memory that is kept from one loss to the next: asking the driver for it each time would take as long as the work.

use std::collections::HashMap;

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::cuda_backend::CudaDType;
use candle_core::{Result as CandleResult, Shape, Tensor, WithDType};

use super::arguments::Address;
use super::card::Card;

/// Tables that nobody looks at after the loss they were made for.
#[derive(Default)]
pub struct Scratch {
    tables: HashMap<&'static str, Tensor>,
}

impl Scratch {
    /// The address of a table of unknown values; as long as its shape stays the same, so does the address.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub(super) fn table<T: WithDType + CudaDType + DeviceRepr>(
        &mut self,
        card: &Card,
        name: &'static str,
        shape: impl Into<Shape>,
    ) -> CandleResult<Address> {
        let shape = shape.into();
        let known = self.tables.get(name);
        if known.is_none_or(|known| known.shape() != &shape) {
            self.tables.insert(name, card.fresh::<T>(shape)?);
        }
        // The table was put there a line ago, if it was not there before.
        card.lend::<T>(&self.tables[name]).map(|lent| lent.at)
    }
}
