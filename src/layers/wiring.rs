//! From masks to the compact form the kernels read. Only connections that exist have a weight in memory.

use rand::Rng;

use super::ConnectionMask;
use crate::kernels::{ConnectionList, Wiring};
use crate::sampling::{Purpose, Streams};

/// Builds the compact form of the masks, one per batch or one for all.
pub fn wire(masks: &[ConnectionMask]) -> Wiring {
    let (n_genes, n_hidden) = (masks[0].n_genes(), masks[0].n_hidden());
    let mut all = masks[0].clone();
    for mask in &masks[1..] {
        all.unite(mask);
    }
    let mut wiring = Wiring {
        n_hidden,
        offsets: vec![0],
        hidden: Vec::with_capacity(all.total()),
        masks: masks
            .iter()
            .map(|_| ConnectionList {
                offsets: vec![0],
                ..ConnectionList::default()
            })
            .collect(),
    };
    for gene in 0..n_genes {
        for unit in all.units(gene) {
            let slot = wiring.hidden.len() as u32;
            wiring.hidden.push(unit as u16);
            for (list, mask) in wiring.masks.iter_mut().zip(masks) {
                if mask.is_connected(gene, unit) {
                    list.hidden.push(unit as u16);
                    list.slots.push(slot);
                }
            }
        }
        wiring.offsets.push(wiring.hidden.len() as u32);
        for list in &mut wiring.masks {
            list.offsets.push(list.hidden.len() as u32);
        }
    }
    wiring
}

/// Recovers the masks from their compact form.
pub fn unwire(wiring: &Wiring) -> Vec<ConnectionMask> {
    let lists = wiring.masks.iter();
    lists
        .map(|list| {
            let mut mask = ConnectionMask::empty(wiring.n_genes(), wiring.n_hidden);
            for gene in 0..wiring.n_genes() {
                for &unit in list.gene(gene).0 {
                    mask.connect(gene, usize::from(unit));
                }
            }
            mask
        })
        .collect()
}

/// Connections of every gene: the mean over the masks, to the nearest whole number.
pub fn connections_of_genes(wiring: &Wiring) -> Vec<u16> {
    let n_masks = wiring.masks.len() as f64;
    (0..wiring.n_genes())
        .map(|gene| {
            let n: usize = wiring.masks.iter().map(|m| m.gene(gene).0.len()).sum();
            // The conversion saturates.
            (n as f64 / n_masks).round() as u16
        })
        .collect()
}

/// Where the weights of connections that stay have moved, when connections change.
#[derive(Debug, Clone)]
pub struct Inheritance {
    /// For each new slot, the old one with the same gene and hidden unit, if there is one.
    from: Vec<Option<u32>>,
}

impl Inheritance {
    /// From one wiring to another of the same genes.
    pub fn new(old: &Wiring, new: &Wiring) -> Self {
        let mut from = Vec::with_capacity(new.n_slots());
        for gene in 0..new.n_genes() {
            let old_slots = old.offsets[gene] as usize..old.offsets[gene + 1] as usize;
            let mut candidate = old_slots.start;
            for slot in new.offsets[gene] as usize..new.offsets[gene + 1] as usize {
                let unit = new.hidden[slot];
                while candidate < old_slots.end && old.hidden[candidate] < unit {
                    candidate += 1;
                }
                let same = candidate < old_slots.end && old.hidden[candidate] == unit;
                from.push(same.then_some(candidate as u32));
            }
        }
        Inheritance { from }
    }

    /// Values of the old slots at their new places; `fresh` are those of the connections that are new.
    pub fn carry(&self, old: &[f32], fresh: impl Fn(usize) -> f32) -> Vec<f32> {
        let slots = self.from.iter().enumerate();
        slots
            .map(|(slot, from)| from.map_or_else(|| fresh(slot), |old_slot| old[old_slot as usize]))
            .collect()
    }
}

/// Starting weights of every connection a layer could have: each is a fixed function of seed, layer, gene and hidden
/// unit. A connection that is added starts from that value, also one that was there before: what a removed connection had
/// learned is not kept, as that would take the memory of a dense layer.
#[derive(Debug, Clone, Copy)]
pub struct StartingWeights {
    /// Streams of the model's seed.
    pub streams: Streams,
    /// Tells the layers apart.
    pub layer: u32,
    /// Weights are uniform in `-bound..bound`.
    pub bound: f32,
}

impl StartingWeights {
    /// The weights of all slots of a wiring.
    pub fn all(&self, wiring: &Wiring) -> Vec<f32> {
        self.fill(wiring, |_| None)
    }

    /// The weights of a new wiring: inherited where the connection existed, else the starting weight.
    pub fn inherit(&self, weights: &[f32], from: &Inheritance, wiring: &Wiring) -> Vec<f32> {
        self.fill(wiring, |slot| from.from[slot].map(|s| weights[s as usize]))
    }

    fn fill(&self, wiring: &Wiring, known: impl Fn(usize) -> Option<f32>) -> Vec<f32> {
        let mut rng = self.streams.stream(Purpose::Weights, self.layer);
        let mut weights = Vec::with_capacity(wiring.n_slots());
        for gene in 0..wiring.n_genes() {
            for slot in wiring.offsets[gene] as usize..wiring.offsets[gene + 1] as usize {
                weights.push(known(slot).unwrap_or_else(|| {
                    let cell = gene * wiring.n_hidden + usize::from(wiring.hidden[slot]);
                    rng.set_word_pos(cell as u128);
                    self.bound * (2.0 * rng.random::<f32>() - 1.0)
                }));
            }
        }
        weights
    }
}
