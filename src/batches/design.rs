//! Which covariates the cells come with: batches are the combinations of their levels that occur.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Covariates (donor, chemistry, ...) and the batches they make. Cells of one batch have the same level of every
/// covariate; with a single covariate its levels are the batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design {
    /// Number of levels of each covariate; none without batches.
    n_levels: Vec<usize>,
    /// For each batch, its level of each covariate.
    levels: Vec<Vec<usize>>,
}

impl Design {
    /// One covariate whose levels are the batches; without covariates when there are fewer than two.
    ///
    /// ```
    /// use scvae::batches::Design;
    ///
    /// assert_eq!(Design::single(3).n_batches(), 3);
    /// assert!(Design::single(1).n_levels().is_empty(), "no batches to tell apart");
    /// ```
    pub fn single(n_batches: usize) -> Self {
        if n_batches < 2 {
            return Design {
                n_levels: Vec::new(),
                levels: vec![Vec::new()],
            };
        }
        Design {
            n_levels: vec![n_batches],
            levels: (0..n_batches).map(|b| vec![b]).collect(),
        }
    }

    /// Batches by the level of each covariate.
    ///
    /// # Errors
    /// [`Error::Argument`] when a level is out of range or does not occur, there is no batch, two batches have the same
    /// levels, or the levels of a single covariate do not number the batches.
    ///
    /// ```
    /// use scvae::batches::Design;
    ///
    /// // Three donors and two chemistries: of donor 2 there are cells of both.
    /// let design = Design::new(vec![3, 2], vec![vec![0, 0], vec![1, 0], vec![2, 0], vec![2, 1]])?;
    /// assert_eq!(design.n_batches(), 4);
    /// assert_eq!(design.level(1, 3), 1);
    /// # Ok::<(), scvae::Error>(())
    /// ```
    pub fn new(n_levels: Vec<usize>, levels: Vec<Vec<usize>>) -> Result<Self> {
        let occurs = |covariate: usize, level: usize| levels.iter().any(|l| l[covariate] == level);
        let distinct = levels.iter().collect::<HashSet<_>>().len() == levels.len();
        let fits = !levels.is_empty()
            && levels.iter().all(|of_batch| {
                of_batch.len() == n_levels.len()
                    && of_batch.iter().zip(&n_levels).all(|(level, n)| level < n)
            })
            && (n_levels.iter().enumerate()).all(|(c, &n)| (0..n).all(|level| occurs(c, level)))
            // What `single` makes is the only form of a design with one covariate, and of one with none.
            && distinct
            && (n_levels.len() != 1 || levels.iter().enumerate().all(|(b, l)| l[0] == b));
        if !fits {
            return Err(Error::Argument(format!(
                "batches with the levels {levels:?} do not fit covariates with {n_levels:?} levels"
            )));
        }
        Ok(Design { n_levels, levels })
    }

    /// This design, from a file that may be damaged, once it is known to be one.
    ///
    /// # Errors
    /// As [`Design::new`].
    pub fn checked(self) -> Result<Self> {
        Design::new(self.n_levels, self.levels)
    }

    /// Number of batches; one when there are no covariates.
    pub fn n_batches(&self) -> usize {
        self.levels.len()
    }

    /// Number of levels of each covariate.
    pub fn n_levels(&self) -> &[usize] {
        &self.n_levels
    }

    /// A batch's level of a covariate.
    pub fn level(&self, covariate: usize, batch: usize) -> usize {
        self.levels[batch][covariate]
    }

    /// Each batch's level of a covariate.
    pub fn of_batches(&self, covariate: usize) -> Vec<usize> {
        self.levels.iter().map(|levels| levels[covariate]).collect()
    }

    /// The same batches, all with one level of a covariate: what a decoder needs for a transfer of style.
    pub fn with_level(&self, covariate: usize, level: usize) -> Self {
        let mut design = self.clone();
        for levels in &mut design.levels {
            levels[covariate] = level;
        }
        design
    }
}
