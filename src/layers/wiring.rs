//! From masks to the compact form the kernels read. Only connections that exist have a weight in memory.

use std::ops::Range;

use candle_core::{Device, Result as CandleResult, Tensor};
use rand::Rng;
use rayon::prelude::*;

use super::ConnectionMask;
use crate::backend::Backend;
use crate::kernels::{ConnectionList, Wiring};
use crate::sampling::{Purpose, Streams};

/// Genes that a thread works on at a time.
const GENES_OF_PART: usize = 512;

/// Builds the compact form of the masks, one per batch or one for all.
pub fn wire(masks: &[ConnectionMask]) -> Wiring {
    let mut all = masks[0].clone();
    for mask in &masks[1..] {
        all.unite(mask);
    }
    let parts: Vec<Wiring> = parts_of_genes(all.n_genes())
        .map(|genes| wire_genes(masks, &all, genes))
        .collect();
    let mut parts = parts.into_iter();
    let mut wiring = parts
        .next()
        .unwrap_or_else(|| wire_genes(masks, &all, 0..0));
    for part in parts {
        append(&mut wiring, &part);
    }
    wiring
}

fn parts_of_genes(n_genes: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    let n_parts = n_genes.div_ceil(GENES_OF_PART);
    let parts = (0..n_parts).into_par_iter();
    parts.map(move |part| {
        let first = part * GENES_OF_PART;
        first..(first + GENES_OF_PART).min(n_genes)
    })
}

/// The wiring of some genes by themselves; `all` are the connections of any mask.
fn wire_genes(masks: &[ConnectionMask], all: &ConnectionMask, genes: Range<usize>) -> Wiring {
    let lists = masks.iter().map(|_| ConnectionList {
        offsets: vec![0],
        ..ConnectionList::default()
    });
    let mut wiring = Wiring {
        n_hidden: all.n_hidden(),
        offsets: vec![0],
        hidden: Vec::new(),
        masks: lists.collect(),
    };
    for gene in genes {
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

/// Puts the genes of another wiring behind those of one.
fn append(wiring: &mut Wiring, more: &Wiring) {
    let n_slots = wiring.hidden.len() as u32;
    wiring.hidden.extend(&more.hidden);
    wiring.offsets.extend(moved(&more.offsets[1..], n_slots));
    for (list, more) in wiring.masks.iter_mut().zip(&more.masks) {
        let n = list.hidden.len() as u32;
        list.offsets.extend(moved(&more.offsets[1..], n));
        list.slots.extend(moved(&more.slots, n_slots));
        list.hidden.extend(&more.hidden);
    }
}

fn moved(places: &[u32], by: u32) -> impl Iterator<Item = u32> + '_ {
    places.iter().map(move |&place| place + by)
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

/// Where the values of connections that stay have moved, when connections change.
#[derive(Debug, Clone)]
pub struct Inheritance {
    /// For each new slot, the old one with the same gene and hidden unit; if there is none, `n_old` plus its place among
    /// the connections that are new.
    from: Vec<u32>,
    n_old: u32,
}

impl Inheritance {
    /// From one wiring to another of the same genes.
    pub fn new(old: &Wiring, new: &Wiring) -> Self {
        let parts: Vec<_> = parts_of_genes(new.n_genes())
            .map(|genes| same_connections(old, new, genes))
            .collect();
        let n_old = old.n_slots() as u32;
        let mut next = n_old;
        let from = parts.into_iter().flatten().map(|same| {
            same.unwrap_or_else(|| {
                next += 1;
                next - 1
            })
        });
        Inheritance {
            from: from.collect(),
            n_old,
        }
    }

    /// The same, where a device reads it.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn on(&self, device: &Device) -> CandleResult<Moves> {
        Ok(Moves {
            from: Tensor::new(&self.from[..], device)?,
            n_fresh: self.fresh().count(),
        })
    }

    /// Slots of the connections that are new, increasing.
    fn fresh(&self) -> impl Iterator<Item = usize> + '_ {
        let slots = self.from.iter().enumerate();
        slots
            .filter(|&(_, &from)| from >= self.n_old)
            .map(|(slot, _)| slot)
    }
}

/// For each new slot of some genes, the old one with the same gene and hidden unit.
fn same_connections(old: &Wiring, new: &Wiring, genes: Range<usize>) -> Vec<Option<u32>> {
    let mut found = Vec::new();
    for gene in genes {
        let old_slots = old.offsets[gene]..old.offsets[gene + 1];
        let mut candidate = old_slots.start;
        for slot in new.offsets[gene] as usize..new.offsets[gene + 1] as usize {
            let unit = new.hidden[slot];
            while candidate < old_slots.end && old.hidden[candidate as usize] < unit {
                candidate += 1;
            }
            let same = candidate < old_slots.end && old.hidden[candidate as usize] == unit;
            found.push(same.then_some(candidate));
        }
    }
    found
}

/// An [`Inheritance`] on a device: values are moved where they lie.
#[derive(Debug, Clone)]
pub struct Moves {
    from: Tensor,
    n_fresh: usize,
}

impl Moves {
    /// Connections that are new.
    pub fn n_fresh(&self) -> usize {
        self.n_fresh
    }

    /// Values of the old slots, the last dimension of `old`, at their new places. `fresh` are those of the connections that
    /// are new, in their order, zeros if none are given.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn carry<B: Backend>(
        &self,
        backend: &B,
        old: &Tensor,
        fresh: Option<&[f32]>,
    ) -> CandleResult<Tensor> {
        match fresh {
            Some(fresh) => backend.carry(old, &self.from, fresh),
            None => backend.carry(old, &self.from, &vec![0.0; self.n_fresh]),
        }
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
        self.of_slots(wiring, 0..wiring.n_slots())
    }

    /// The weights of the connections that are new.
    pub fn fresh(&self, inheritance: &Inheritance, wiring: &Wiring) -> Vec<f32> {
        self.of_slots(wiring, inheritance.fresh())
    }

    /// The weights of some slots, which increase.
    fn of_slots(&self, wiring: &Wiring, slots: impl Iterator<Item = usize>) -> Vec<f32> {
        let mut rng = self.streams.stream(Purpose::Weights, self.layer);
        let mut gene = 0;
        let weights = slots.map(|slot| {
            while wiring.offsets[gene + 1] as usize <= slot {
                gene += 1;
            }
            let place = gene * wiring.n_hidden + usize::from(wiring.hidden[slot]);
            rng.set_word_pos(place as u128);
            self.bound * (2.0 * rng.random::<f32>() - 1.0)
        });
        weights.collect()
    }
}
