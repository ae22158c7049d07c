//! Stage II of a sparsely connected layer: its connections change, its weights do not (paper, appendix A.2.1).

use rand::seq::{IteratorRandom, SliceRandom};
use rand::Rng;
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
    /// Genes that may gain a connection for a high loss, as a share of all genes.
    pub n_al: f64,
    /// Genes that may lose a connection for a low loss, as a share of all genes.
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

/// What one adjustment did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdjustmentCounts {
    /// Connections removed at genes of low loss.
    pub removed_by_loss: usize,
    /// Connections added at genes of high loss.
    pub added_by_loss: usize,
    /// Connections removed for their small weight.
    pub removed_by_weight: usize,
    /// Connections added at random genes to restore the total.
    pub added_at_random: usize,
    /// Connections removed at random genes to restore the total.
    pub removed_at_random: usize,
}

impl AdjustmentCounts {
    /// Number of changes.
    pub fn total(&self) -> usize {
        self.removed_by_loss
            + self.added_by_loss
            + self.removed_by_weight
            + self.added_at_random
            + self.removed_at_random
    }
}

/// Adjusts a mask once: by loss, by weight, at random, in that order. Its total stays what it was.
///
/// `loss` is one mean squared error per gene, `weight(gene, unit)` the layer's weight. A change that would break a
/// gene's bounds is skipped, and the gene's turn is not passed on to another.
///
/// Once the genes of highest loss still gain while those of lowest loss are at their floor, more connections are
/// added than removed; the paper leaves open how the total is kept then: random removals mirror its random additions.
pub fn adjust(
    mask: &mut ConnectionMask,
    loss: &[f64],
    weight: impl Fn(usize, usize) -> f32,
    rules: &AdjustmentRules,
    rng: &mut impl Rng,
) -> AdjustmentCounts {
    let n_genes = mask.n_genes();
    let least = rules.least(mask.n_hidden());
    let most = rules.most(mask.n_hidden());
    let share = |x: f64| (x * n_genes as f64).floor() as usize;
    let mut done = AdjustmentCounts::default();

    let mut by_loss: Vec<usize> = (0..n_genes).collect();
    by_loss.sort_by(|&a, &b| loss[a].total_cmp(&loss[b]).then(a.cmp(&b)));
    for &gene in by_loss.iter().take(share(rules.n_pl)) {
        done.removed_by_loss += usize::from(remove_one(mask, gene, least, rng));
    }
    for &gene in by_loss.iter().rev().take(share(rules.n_al)) {
        done.added_by_loss += usize::from(add_one(mask, gene, most, rng));
    }
    done.removed_by_weight = prune_by_weight(mask, &weight, rules, least, share(rules.n_pw), rng);

    let removed = done.removed_by_loss + done.removed_by_weight;
    if removed > done.added_by_loss {
        done.added_at_random = at_random(mask, removed - done.added_by_loss, rng, |m, g, r| {
            add_one(m, g, most, r)
        });
    } else {
        done.removed_at_random = at_random(mask, done.added_by_loss - removed, rng, |m, g, r| {
            remove_one(m, g, least, r)
        });
    }
    done
}

fn remove_one(mask: &mut ConnectionMask, gene: usize, least: usize, rng: &mut impl Rng) -> bool {
    if mask.n_of_gene(gene) <= least {
        return false;
    }
    let unit = mask.units(gene).choose(rng);
    unit.inspect(|&u| mask.disconnect(gene, u)).is_some()
}

fn add_one(mask: &mut ConnectionMask, gene: usize, most: usize, rng: &mut impl Rng) -> bool {
    if mask.n_of_gene(gene) >= most {
        return false;
    }
    let unit = mask.free_units(gene).choose(rng);
    unit.inspect(|&u| mask.connect(gene, u)).is_some()
}

fn prune_by_weight(
    mask: &mut ConnectionMask,
    weight: &impl Fn(usize, usize) -> f32,
    rules: &AdjustmentRules,
    least: usize,
    at_most: usize,
    rng: &mut impl Rng,
) -> usize {
    let mut sizes: Vec<f32> = (0..mask.n_genes())
        .flat_map(|g| mask.units(g).map(move |u| weight(g, u).abs()))
        .collect();
    if sizes.is_empty() || at_most == 0 {
        return 0;
    }
    let rank = ((rules.q_w * sizes.len() as f64) as usize).min(sizes.len() - 1);
    let quantile = *sizes.select_nth_unstable_by(rank, f32::total_cmp).1;
    let cutoff = quantile.min(rules.v_w as f32);
    let mut candidates: Vec<(usize, Vec<usize>)> = (0..mask.n_genes())
        .filter(|&g| mask.n_of_gene(g) > least)
        .map(|g| {
            (
                g,
                mask.units(g)
                    .filter(|&u| weight(g, u).abs() < cutoff)
                    .collect::<Vec<_>>(),
            )
        })
        .filter(|(_, units)| !units.is_empty())
        .collect();
    candidates.shuffle(rng);
    candidates.truncate(at_most);
    for (gene, units) in &candidates {
        if let Some(&unit) = units.iter().choose(rng) {
            mask.disconnect(*gene, unit);
        }
    }
    candidates.len()
}

/// Goes through all genes in random order, again and again, until `wanted` changes are made or none is possible.
fn at_random<R: Rng>(
    mask: &mut ConnectionMask,
    wanted: usize,
    rng: &mut R,
    change: impl Fn(&mut ConnectionMask, usize, &mut R) -> bool,
) -> usize {
    let mut genes: Vec<usize> = (0..mask.n_genes()).collect();
    let mut done = 0;
    while done < wanted {
        let before = done;
        genes.shuffle(rng);
        for &gene in &genes {
            if done == wanted {
                break;
            }
            done += usize::from(change(mask, gene, rng));
        }
        if done == before {
            break;
        }
    }
    done
}
