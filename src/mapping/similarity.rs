//! Which of several groups of cells a cell is most alike.

use rayon::prelude::*;

use crate::batches::log_profile;
use crate::counts::CountsView;
use crate::Stop;

/// The groups that cells belong to, and the groups' numbers of cells.
pub(super) struct Members<'a> {
    pub(super) group: &'a [usize],
    pub(super) n_of_group: &'a [f64],
}

/// Profiles of groups, ready to be compared with cells': by the cosine, without the mean of the profiles.
pub(super) struct Similarity {
    profiles: Vec<Vec<f32>>,
    mean: Vec<f64>,
    /// Square of the mean's length, and per profile of its length and its product with the mean.
    mean_square: f64,
    squares: Vec<f64>,
    with_mean: Vec<f64>,
}

impl Similarity {
    /// Of profiles as [`log_profile`] gives them, means over each group's cells.
    pub(super) fn of(profiles: Vec<Vec<f32>>) -> Self {
        let n_groups = profiles.len().max(1) as f64;
        let mut mean = vec![0.0; profiles.first().map_or(0, Vec::len)];
        for profile in &profiles {
            for (mean, &x) in mean.iter_mut().zip(profile) {
                *mean += f64::from(x) / n_groups;
            }
        }
        let square = |profile: &Vec<f32>| profile.iter().map(|&x| f64::from(x).powi(2)).sum();
        let with_mean = |profile: &Vec<f32>| {
            let both = profile.iter().zip(&mean);
            both.map(|(&x, m)| f64::from(x) * m).sum()
        };
        Similarity {
            mean_square: mean.iter().map(|m| m * m).sum(),
            squares: profiles.iter().map(square).collect(),
            with_mean: profiles.iter().map(with_mean).collect(),
            mean,
            profiles,
        }
    }

    /// The group that each cell is most alike. Cells that the profiles are means of are `members`: their own part is taken
    /// off their group's profile, so that they are compared as new cells are. When asked to stop, what is left is group 0.
    pub(super) fn closest(
        &self,
        view: &CountsView,
        cells: &[usize],
        members: Option<&Members>,
        should_stop: Stop,
    ) -> Vec<usize> {
        let of_cells = cells.par_iter().enumerate().map(|(i, &cell)| {
            if should_stop() {
                return 0;
            }
            let own = members.map(|members| {
                let group = members.group[i];
                (group, members.n_of_group[group])
            });
            self.closest_to(view, cell, own)
        });
        of_cells.collect()
    }

    /// `own` is the cell's group and that group's number of cells, if the cell is one of them.
    fn closest_to(&self, view: &CountsView, cell: usize, own: Option<(usize, f64)>) -> usize {
        let mut products = vec![0.0; self.profiles.len()];
        let (mut square, mut with_mean) = (0.0, 0.0);
        log_profile(view, cell, |gene, value| {
            let (gene, value) = (gene as usize, f64::from(value));
            square += value * value;
            with_mean += value * self.mean[gene];
            for (product, profile) in products.iter_mut().zip(&self.profiles) {
                *product += value * f64::from(profile[gene]);
            }
        });
        let similarity = |k: usize| {
            // The group's profile is `whole * profile - part * cell`.
            let (whole, part) = match own {
                Some((group, n)) if group == k && n > 1.0 => (n / (n - 1.0), 1.0 / (n - 1.0)),
                _ => (1.0, 0.0),
            };
            let product = whole * products[k] - part * square;
            let mean_product = whole * self.with_mean[k] - part * with_mean;
            let group_square = whole * whole * self.squares[k] - 2.0 * whole * part * products[k]
                + part * part * square;
            let length = group_square - 2.0 * mean_product + self.mean_square;
            // A cell's own length is the same for all groups.
            (product - with_mean - mean_product + self.mean_square) / length.max(1e-12).sqrt()
        };
        let groups = (0..products.len()).map(|k| (k, similarity(k)));
        groups
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(0, |(k, _)| k)
    }
}
