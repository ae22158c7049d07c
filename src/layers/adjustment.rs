//! Stage II of a sparsely connected layer: its connections change, its weights do not (paper, appendix A.2.1).

use rand::seq::{IteratorRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ConnectionMask;

/// Constants of the connection adjustment, with the paper's values as defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdjustmentRules {
    /// Share of the hidden units each gene is connected to at the start.
    pub alpha_init: f64,
    /// Least share at any time.
    pub alpha_min: f64,
    /// Largest share at any time.
    pub alpha_max: f64,
    /// Genes that may gain a connection for their need, as a share of all genes.
    pub n_al: f64,
    /// Genes that may lose a connection for want of need, as a share of all genes.
    pub n_pl: f64,
    /// Genes that may lose a connection for a small weight, as a share of all genes.
    pub n_pw: f64,
    /// Quantile of the absolute weights under which a weight counts as small.
    pub q_w: f64,
    /// Absolute weight under which a weight counts as small.
    pub v_w: f64,
}

impl Default for AdjustmentRules {
    fn default() -> Self {
        AdjustmentRules {
            alpha_init: 0.2,
            alpha_min: 0.05,
            alpha_max: 0.5,
            n_al: 0.06,
            n_pl: 0.08,
            n_pw: 0.02,
            q_w: 0.001,
            v_w: 1e-5,
        }
    }
}

impl AdjustmentRules {
    /// Connections of each gene at the start: floor(alpha_init * n_hidden), within the bounds.
    pub fn n_init(&self, n_hidden: usize) -> usize {
        let n = (self.alpha_init * n_hidden as f64).floor() as usize;
        n.clamp(self.least(n_hidden), self.most(n_hidden))
    }

    /// Fewest connections of a gene.
    pub fn least(&self, n_hidden: usize) -> usize {
        ((self.alpha_min * n_hidden as f64).ceil() as usize).clamp(1, n_hidden)
    }

    /// Most connections of a gene.
    pub fn most(&self, n_hidden: usize) -> usize {
        ((self.alpha_max * n_hidden as f64).floor() as usize).clamp(self.least(n_hidden), n_hidden)
    }
}

/// Connections that were removed and added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Connections that are gone.
    pub removed: usize,
    /// Connections that are new.
    pub added: usize,
}

impl Changes {
    /// Number of changes.
    pub fn total(&self) -> usize {
        self.removed + self.added
    }
}

impl std::ops::AddAssign for Changes {
    fn add_assign(&mut self, more: Changes) {
        self.removed += more.removed;
        self.added += more.added;
    }
}

/// A mask whose connections are changed, within bounds that hold for every gene.
#[derive(Debug)]
pub struct BoundedMask<'a> {
    mask: &'a mut ConnectionMask,
    least: usize,
    most: usize,
}

impl<'a> BoundedMask<'a> {
    /// A mask with the rules' bounds.
    pub fn new(mask: &'a mut ConnectionMask, rules: &AdjustmentRules) -> Self {
        BoundedMask {
            least: rules.least(mask.n_hidden()),
            most: rules.most(mask.n_hidden()),
            mask,
        }
    }

    /// Removes one of a gene's connections at random; the number removed.
    fn remove_one(&mut self, gene: usize, rng: &mut ChaCha8Rng) -> usize {
        if self.mask.n_of_gene(gene) <= self.least {
            return 0;
        }
        let unit = self.mask.units(gene).choose(rng);
        usize::from(unit.inspect(|&u| self.mask.disconnect(gene, u)).is_some())
    }

    /// Adds a connection of a gene at random; the number added.
    fn add_one(&mut self, gene: usize, rng: &mut ChaCha8Rng) -> usize {
        if self.mask.n_of_gene(gene) >= self.most {
            return 0;
        }
        let unit = self.mask.free_units(gene).choose(rng);
        usize::from(unit.inspect(|&u| self.mask.connect(gene, u)).is_some())
    }
}

/// One of the ways in which connections change. A change that would break a gene's bounds is skipped, and the gene's turn
/// is not passed on to another.
pub trait Adjustment {
    /// Changes the mask; `before` are the changes made before in the same adjustment.
    fn apply(&self, mask: &mut BoundedMask, before: Changes, rng: &mut ChaCha8Rng) -> Changes;
}

/// Genes with the least need of connections lose one, those with the most gain one. In the paper, need is loss.
#[derive(Debug, Clone, Copy)]
pub struct ByNeed<'a> {
    /// One value per gene, see [`super::Criterion`].
    pub need: &'a [f64],
    /// Genes that may lose a connection.
    pub n_losing: usize,
    /// Genes that may gain one.
    pub n_gaining: usize,
}

impl Adjustment for ByNeed<'_> {
    fn apply(&self, mask: &mut BoundedMask, _: Changes, rng: &mut ChaCha8Rng) -> Changes {
        let mut order: Vec<usize> = (0..self.need.len()).collect();
        order.sort_by(|&a, &b| self.need[a].total_cmp(&self.need[b]).then(a.cmp(&b)));
        let least = order.iter().take(self.n_losing);
        let removed = least.map(|&gene| mask.remove_one(gene, rng)).sum();
        let most = order.iter().rev().take(self.n_gaining);
        let added = most.map(|&gene| mask.add_one(gene, rng)).sum();
        Changes { removed, added }
    }
}

/// Connections with small weights are removed, one per gene.
pub struct ByWeight<'a> {
    /// The weight of a gene's connection to a hidden unit.
    pub weight: &'a (dyn Fn(usize, usize) -> f32 + Sync),
    /// Share of all connections' absolute weights under which a weight counts as small.
    pub quantile: f64,
    /// And the absolute weight under which it does.
    pub limit: f64,
    /// Genes that may lose a connection.
    pub n_losing: usize,
}

impl ByWeight<'_> {
    /// Gene, unit and absolute weight of the connections that count as small, in the order of the genes and their units.
    fn small(&self, mask: &ConnectionMask) -> Vec<(usize, usize, f32)> {
        let below = |limit: f32| move |&(_, _, size): &(usize, usize, f32)| size < limit;
        let genes = (0..mask.n_genes()).into_par_iter();
        let mut small: Vec<_> = genes
            .flat_map_iter(|gene| {
                let units = mask.units(gene);
                units.map(move |unit| (gene, unit, (self.weight)(gene, unit).abs()))
            })
            .filter(below(self.limit as f32))
            .collect();
        // Whatever the quantile of all is, it lies among these, or is not the smaller of the two limits.
        let n = mask.total();
        let rank = ((self.quantile * n as f64) as usize).min(n.saturating_sub(1));
        if rank < small.len() {
            let mut sizes: Vec<f32> = small.iter().map(|&(_, _, size)| size).collect();
            let quantile = *sizes.select_nth_unstable_by(rank, f32::total_cmp).1;
            small.retain(below(quantile));
        }
        small
    }
}

impl Adjustment for ByWeight<'_> {
    fn apply(&self, mask: &mut BoundedMask, _: Changes, rng: &mut ChaCha8Rng) -> Changes {
        if self.n_losing == 0 {
            return Changes::default();
        }
        let small = self.small(mask.mask);
        let by_gene = small.chunk_by(|a, b| a.0 == b.0);
        let mut candidates: Vec<_> = by_gene
            .filter(|small| mask.mask.n_of_gene(small[0].0) > mask.least)
            .collect();
        candidates.shuffle(rng);
        candidates.truncate(self.n_losing);
        for small in &candidates {
            if let Some(&(gene, unit, _)) = small.iter().choose(rng) {
                mask.mask.disconnect(gene, unit);
            }
        }
        Changes {
            removed: candidates.len(),
            added: 0,
        }
    }
}

/// Connections at random genes are added, or removed, until there are as many as before.
///
/// Once the genes of most need still gain while those of least need are at their floor, more connections are
/// added than removed; the paper leaves open how the total is kept then: random removals mirror its random additions.
#[derive(Debug, Clone, Copy)]
pub struct AtRandom;

impl Adjustment for AtRandom {
    fn apply(&self, mask: &mut BoundedMask, before: Changes, rng: &mut ChaCha8Rng) -> Changes {
        if before.removed > before.added {
            let wanted = before.removed - before.added;
            let added = at_random(mask, wanted, rng, |m, gene, rng| m.add_one(gene, rng));
            Changes { removed: 0, added }
        } else {
            let wanted = before.added - before.removed;
            let removed = at_random(mask, wanted, rng, |m, gene, rng| m.remove_one(gene, rng));
            Changes { removed, added: 0 }
        }
    }
}

/// Goes through all genes in random order, again and again, until `wanted` changes are made or none is possible.
fn at_random(
    mask: &mut BoundedMask,
    wanted: usize,
    rng: &mut ChaCha8Rng,
    change: impl Fn(&mut BoundedMask, usize, &mut ChaCha8Rng) -> usize,
) -> usize {
    let mut genes: Vec<usize> = (0..mask.mask.n_genes()).collect();
    let mut done = 0;
    while done < wanted {
        let before = done;
        genes.shuffle(rng);
        for &gene in &genes {
            if done == wanted {
                break;
            }
            done += change(mask, gene, rng);
        }
        if done == before {
            break;
        }
    }
    done
}

/// Adjusts a mask once: by need, by weight, at random, in that order. Its total stays what it was.
///
/// `need` is one value per gene, see [`super::Criterion`]; `weight(gene, unit)` the layer's weight.
pub fn adjust(
    mask: &mut ConnectionMask,
    need: &[f64],
    weight: &(dyn Fn(usize, usize) -> f32 + Sync),
    rules: &AdjustmentRules,
    rng: &mut ChaCha8Rng,
) -> Changes {
    let n_genes = mask.n_genes();
    let share = |x: f64| (x * n_genes as f64).floor() as usize;
    let by_need = ByNeed {
        need,
        n_losing: share(rules.n_pl),
        n_gaining: share(rules.n_al),
    };
    let by_weight = ByWeight {
        weight,
        quantile: rules.q_w,
        limit: rules.v_w,
        n_losing: share(rules.n_pw),
    };
    let mut mask = BoundedMask::new(mask, rules);
    let mut done = Changes::default();
    for adjustment in [&by_need as &dyn Adjustment, &by_weight, &AtRandom] {
        done += adjustment.apply(&mut mask, done, rng);
    }
    done
}
