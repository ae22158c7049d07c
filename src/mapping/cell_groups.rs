//! What a model remembers of its cells, so that further batches can be set against them: groups of like cells, as means
//! over all batches. No single cell is kept.

use candle_core::{Device, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::similarity::{Members, Similarity};
use crate::batches::log_profile;
use crate::counts::CountsView;
use crate::{go_on, Error, Result, Stop};

/// Groups at most, and cells of a group on average at least: of small groups a new cell finds the one that is like it in
/// its noise (`bench/results/matching.md`).
const MOST_GROUPS: usize = 32;
const CELLS_OF_GROUP: usize = 60;
/// Groups of fewer cells are dissolved, so that no cell is told from a group's mean.
const FEWEST_CELLS: f64 = 5.0;
/// Rounds of assignment to the groups' centres.
const ROUNDS: usize = 20;

/// Means of groups of cells that lie together in the latent space.
#[derive(Debug, Clone)]
pub struct CellGroups {
    /// Logarithms of normalised counts, groups x genes: what cells are compared by.
    pub profiles: Tensor,
    /// The encoder's input without the batches' differences, groups x genes.
    pub inputs: Tensor,
    /// Mean latent values, groups x `n_latent`.
    pub latent: Tensor,
    /// Variances of the latent values within the groups, groups x `n_latent`.
    pub latent_variance: Tensor,
}

impl CellGroups {
    /// Groups the cells of a view by their latent means `z` (cells x `n_latent`). `shift` is what each batch's input is
    /// reduced by, batches x genes, or empty.
    ///
    /// What is remembered of a group besides its profile is of the cells that are most alike that profile, as new cells
    /// are later: some belong to a neighbouring group, and spread wider than the group's own cells.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when asked to stop.
    pub fn of(
        view: &CountsView,
        batch: &[usize],
        z: &[f32],
        shift: &[f32],
        rng: &mut ChaCha8Rng,
        device: &Device,
        should_stop: Stop,
    ) -> Result<Self> {
        let n_cells = view.n_cells();
        let group = groups(z, n_cells, rng, should_stop);
        let n_of_group = sizes(&group);
        let profiles = profiles(view, &group, &n_of_group, should_stop)?;
        let members = Members {
            group: &group,
            n_of_group: &n_of_group,
        };
        let all: Vec<usize> = (0..n_cells).collect();
        let group =
            Similarity::of(profiles.clone()).closest(view, &all, Some(&members), should_stop);
        if should_stop() {
            return Err(Error::Interrupted);
        }
        let mut n_of_group = sizes(&group);
        n_of_group.resize(profiles.len(), 0.0);
        let inputs = inputs(view, batch, &group, shift, profiles.len(), should_stop)?;
        let n_latent = z.len() / n_cells.max(1);
        let [latent, variance] = moments(z, n_latent, &group, &n_of_group);
        let most = n_of_group.iter().copied().fold(0.0, f64::max);
        let kept = |rows: Vec<Vec<f32>>| {
            let rows = rows.into_iter().zip(&n_of_group);
            let rows = rows.filter(|(_, &n)| n >= FEWEST_CELLS.min(most));
            let rows: Vec<Vec<f32>> = rows.map(|(row, _)| row).collect();
            let shape = (rows.len(), rows.first().map_or(0, Vec::len));
            Tensor::from_vec(rows.concat(), shape, device)
        };
        Ok(CellGroups {
            profiles: kept(profiles)?,
            inputs: kept(inputs.means(&n_of_group))?,
            latent: kept(latent)?,
            latent_variance: kept(variance)?,
        })
    }

    /// The group that each cell is most alike.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when asked to stop.
    pub fn closest(
        &self,
        view: &CountsView,
        cells: &[usize],
        should_stop: Stop,
    ) -> Result<Vec<usize>> {
        let similarity = Similarity::of(self.profiles.to_vec2::<f32>()?);
        let closest = similarity.closest(view, cells, None, should_stop);
        match should_stop() {
            true => Err(Error::Interrupted),
            false => Ok(closest),
        }
    }

    /// What the cells of one batch lie above their groups, on average over the cells: one value per gene.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when asked to stop.
    pub fn difference(
        &self,
        view: &CountsView,
        cells: &[usize],
        groups: &[usize],
        should_stop: Stop,
    ) -> Result<Vec<f64>> {
        let inputs = self.inputs.to_vec2::<f32>()?;
        let mut sums = vec![0.0; view.n_genes()];
        let mut n_of_group = vec![0.0; inputs.len()];
        for (i, (&cell, &group)) in cells.iter().zip(groups).enumerate() {
            go_on(i, should_stop)?;
            n_of_group[group] += 1.0;
            view.for_each_in_cell(cell, |gene, count| {
                sums[gene as usize] += f64::from(count).ln_1p();
            });
        }
        for (inputs, n) in inputs.iter().zip(n_of_group) {
            for (sum, &input) in sums.iter_mut().zip(inputs) {
                *sum -= n * f64::from(input);
            }
        }
        let n_cells = cells.len().max(1) as f64;
        Ok(sums.into_iter().map(|sum| sum / n_cells).collect())
    }
}

/// Sums over the cells of groups, groups x columns.
struct Sums {
    n_columns: usize,
    values: Vec<f64>,
}

impl Sums {
    fn new(n_groups: usize, n_columns: usize) -> Self {
        Sums {
            n_columns,
            values: vec![0.0; n_groups * n_columns],
        }
    }

    fn of_group(&mut self, group: usize) -> &mut [f64] {
        &mut self.values[group * self.n_columns..(group + 1) * self.n_columns]
    }

    fn means(&self, n_of_group: &[f64]) -> Vec<Vec<f32>> {
        let of_groups = self.values.chunks_exact(self.n_columns).zip(n_of_group);
        let means = of_groups.map(|(sums, n)| {
            let means = sums.iter().map(|sum| (sum / n.max(1.0)) as f32);
            means.collect()
        });
        means.collect()
    }
}

/// Mean logarithms of normalised counts, groups x genes.
fn profiles(
    view: &CountsView,
    group: &[usize],
    n_of_group: &[f64],
    should_stop: Stop,
) -> Result<Vec<Vec<f32>>> {
    let mut sums = Sums::new(n_of_group.len(), view.n_genes());
    for (cell, &k) in group.iter().enumerate() {
        go_on(cell, should_stop)?;
        let of_group = sums.of_group(k);
        log_profile(view, cell, |gene, value| {
            of_group[gene as usize] += f64::from(value);
        });
    }
    Ok(sums.means(n_of_group))
}

/// Sums of the encoder's input without the batches' differences, groups x genes.
fn inputs(
    view: &CountsView,
    batch: &[usize],
    group: &[usize],
    shift: &[f32],
    n_groups: usize,
    should_stop: Stop,
) -> Result<Sums> {
    let n_genes = view.n_genes();
    let n_batches = shift.len() / n_genes.max(1);
    let mut sums = Sums::new(n_groups, n_genes);
    let mut n_of_batches = vec![vec![0.0; n_batches]; n_groups];
    for (cell, &k) in group.iter().enumerate() {
        go_on(cell, should_stop)?;
        let of_group = sums.of_group(k);
        view.for_each_in_cell(cell, |gene, count| {
            of_group[gene as usize] += f64::from(count).ln_1p();
        });
        if n_batches > 0 {
            n_of_batches[k][batch[cell]] += 1.0;
        }
    }
    if n_batches > 0 {
        for (k, n_of_batches) in n_of_batches.iter().enumerate() {
            for (gene, sum) in sums.of_group(k).iter_mut().enumerate() {
                let of_gene = shift.iter().skip(gene).step_by(n_genes);
                let of_batches = n_of_batches.iter().zip(of_gene);
                *sum -= of_batches.map(|(n, &s)| n * f64::from(s)).sum::<f64>();
            }
        }
    }
    Ok(sums)
}

/// Means and variances of latent values, groups x `n_latent`.
fn moments(z: &[f32], n_latent: usize, group: &[usize], n_of_group: &[f64]) -> [Vec<Vec<f32>>; 2] {
    let mut sums = Sums::new(n_of_group.len(), n_latent);
    let mut squares = Sums::new(n_of_group.len(), n_latent);
    for (z, &k) in z.chunks_exact(n_latent).zip(group) {
        let of_group = sums.of_group(k).iter_mut().zip(squares.of_group(k));
        for ((sum, square), &z) in of_group.zip(z) {
            *sum += f64::from(z);
            *square += f64::from(z).powi(2);
        }
    }
    let of_groups = n_of_group.iter().enumerate();
    for (k, &n) in of_groups.filter(|(_, &n)| n > 0.0) {
        for (square, sum) in squares.of_group(k).iter_mut().zip(sums.of_group(k)) {
            *square = (*square - *sum * *sum / n).max(0.0) * n / (n - 1.0).max(1.0);
        }
    }
    [sums.means(n_of_group), squares.means(n_of_group)]
}

/// Numbers of cells of groups.
fn sizes(group: &[usize]) -> Vec<f64> {
    let n_groups = group.iter().max().map_or(1, |most| most + 1);
    let mut sizes = vec![0.0; n_groups];
    group.iter().for_each(|&k| sizes[k] += 1.0);
    sizes
}

/// Groups of cells by k-means, numbered without gaps; the first centres are cells drawn far apart.
fn groups(z: &[f32], n_cells: usize, rng: &mut ChaCha8Rng, should_stop: Stop) -> Vec<usize> {
    let n = z.len() / n_cells.max(1);
    let n_groups = (n_cells / CELLS_OF_GROUP).clamp(1, MOST_GROUPS);
    let mut centres: Vec<Vec<f64>> = Vec::with_capacity(n_groups);
    let mut nearest = vec![f64::INFINITY; n_cells];
    let mut next = rng.random_range(0..n_cells.max(1));
    for _ in 0..n_groups {
        let centre: Vec<f64> = z[next * n..(next + 1) * n]
            .iter()
            .map(|&x| x.into())
            .collect();
        for (least, z) in nearest.iter_mut().zip(z.chunks_exact(n)) {
            *least = least.min(squared_distance(z, &centre));
        }
        centres.push(centre);
        let mut left = rng.random::<f64>() * nearest.iter().sum::<f64>();
        let drawn = nearest.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        next = drawn.unwrap_or(0);
    }
    let mut group = Vec::new();
    for _ in 0..ROUNDS {
        if should_stop() {
            return vec![0; n_cells];
        }
        group = z.chunks_exact(n).map(|z| closest(z, &centres)).collect();
        let mut sums = vec![vec![0.0; n]; n_groups];
        let mut n_of_group = vec![0usize; n_groups];
        for (z, &k) in z.chunks_exact(n).zip(&group) {
            n_of_group[k] += 1;
            for (sum, &x) in sums[k].iter_mut().zip(z) {
                *sum += f64::from(x);
            }
        }
        for (k, &of_group) in n_of_group.iter().enumerate().filter(|(_, &n)| n > 0) {
            centres[k] = sums[k].iter().map(|sum| sum / of_group as f64).collect();
        }
    }
    let n_of_group = sizes(&group);
    let most = n_of_group.iter().copied().fold(0.0, f64::max);
    let mut n_of_group = n_of_group.into_iter();
    centres.retain(|_| n_of_group.next() >= Some(FEWEST_CELLS.min(most)));
    numbered(z.chunks_exact(n).map(|z| closest(z, &centres)).collect())
}

/// The same groups, numbered without gaps.
fn numbered(group: Vec<usize>) -> Vec<usize> {
    let mut used: Vec<usize> = group.clone();
    used.sort_unstable();
    used.dedup();
    let number = |k: usize| used.binary_search(&k).unwrap_or(0);
    group.into_iter().map(number).collect()
}

fn closest(z: &[f32], centres: &[Vec<f64>]) -> usize {
    let distances = centres.iter().map(|centre| squared_distance(z, centre));
    let closest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
    closest.map_or(0, |(k, _)| k)
}

fn squared_distance(z: &[f32], centre: &[f64]) -> f64 {
    let pairs = z.iter().zip(centre);
    pairs.map(|(&z, c)| (f64::from(z) - c).powi(2)).sum()
}
