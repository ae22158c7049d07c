//! Which hidden units are silenced in a step.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Words of the stream that one unit takes: a double's.
const WORDS: u128 = 2;

/// The factors of a layer's units, not drawn yet: zero for silenced units, the others make up for them. A place in a stream
/// of random numbers is all that a device needs, to draw what the host would.
#[derive(Debug, Clone)]
pub struct DropoutDraw {
    rate: f64,
    n_units: usize,
    from: ChaCha8Rng,
}

impl DropoutDraw {
    /// Silences a share `rate`, between 0 and 1, of `n_units` units; the stream goes on behind what they take of it.
    pub fn new(rate: f64, n_units: usize, rng: &mut ChaCha8Rng) -> Self {
        let from = rng.clone();
        rng.set_word_pos(from.get_word_pos() + WORDS * n_units as u128);
        DropoutDraw {
            rate,
            n_units,
            from,
        }
    }

    /// A unit is silenced when its number, uniform in 0..1, is below this.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Number of units.
    pub fn n_units(&self) -> usize {
        self.n_units
    }

    /// Where the units' numbers begin.
    pub fn stream(&self) -> &ChaCha8Rng {
        &self.from
    }

    /// The factor of units that are not silenced.
    pub fn kept(&self) -> f32 {
        (1.0 / (1.0 - self.rate)) as f32
    }

    /// The factors, drawn here.
    pub fn factors(&self) -> Vec<f32> {
        let (mut rng, kept) = (self.from.clone(), self.kept());
        let factor = |_| match rng.random::<f64>() < self.rate {
            true => 0.0,
            false => kept,
        };
        (0..self.n_units).map(factor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{Purpose, Streams};

    #[test]
    fn layers_follow_one_another_in_the_stream() {
        let mut rng = Streams::new(3).stream(Purpose::Dropout, 0);
        let mut one_by_one = rng.clone();
        for n_units in [5, 64, 3] {
            let factors = DropoutDraw::new(0.3, n_units, &mut rng).factors();
            let expected = (0..n_units).map(|_| match one_by_one.random::<f64>() < 0.3 {
                true => 0.0,
                false => 1.0 / 0.7,
            });
            assert_eq!(factors, expected.collect::<Vec<f32>>());
            assert_eq!(rng.get_word_pos(), one_by_one.get_word_pos());
        }
    }
}
