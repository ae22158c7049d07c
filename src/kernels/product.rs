//! The decoder's sparsely connected product for one gene and one tile of cells, forwards and backwards. Sums are formed
//! in an order that does not depend on the width of the processor's vectors.

use pulp::Simd;

use super::row::{halves, Row, SUMS};
use super::tiles::Run;
use super::types::Wiring;

/// Vectors of cells that stay in registers while a gene's connections pass by.
const REGISTERS: usize = 8;

/// Adds `(M * W) hidden` of one gene to `out`; `hidden` holds the tile's row of each hidden unit.
#[inline(always)]
pub(super) fn project<S: Simd>(
    simd: S,
    hidden: &[Row],
    runs: &[Run],
    wiring: &Wiring,
    weights: &[f32],
    gene: usize,
    out: &mut Row,
) {
    if let [run] = runs {
        // Empty places at the end of the tile hold zeros, so the whole width can be taken.
        project_run(simd, hidden, run, wiring, weights, gene, out);
        return;
    }
    let start = *out;
    for run in runs {
        let mut of_run = start;
        project_run(simd, hidden, run, wiring, weights, gene, &mut of_run);
        let cells = run.cells.clone();
        out.0[cells.clone()].copy_from_slice(&of_run.0[cells]);
    }
}

/// The same with one run's mask; right at least for that run's cells.
#[inline(always)]
fn project_run<S: Simd>(
    simd: S,
    hidden: &[Row],
    run: &Run,
    wiring: &Wiring,
    weights: &[f32],
    gene: usize,
    out: &mut Row,
) {
    let (units, slots) = wiring.mask(run.mask).gene(gene);
    let (out, _) = S::as_mut_simd_f32s(&mut out.0);
    for (block, out) in out.chunks_exact_mut(REGISTERS).enumerate() {
        let lanes = REGISTERS * S::F32_LANES;
        if run.cells.end <= block * lanes || run.cells.start >= (block + 1) * lanes {
            continue;
        }
        let mut sums: [S::f32s; REGISTERS] = std::array::from_fn(|i| out[i]);
        for (&unit, &slot) in std::iter::zip(units, slots) {
            let w = simd.splat_f32s(weights[slot as usize]);
            let (row, _) = S::as_simd_f32s(&hidden[usize::from(unit)].0);
            let row = &row[block * REGISTERS..(block + 1) * REGISTERS];
            for (sum, &h) in std::iter::zip(&mut sums, row) {
                *sum = simd.mul_add_e_f32s(w, h, *sum);
            }
        }
        out.copy_from_slice(&sums);
    }
}

/// The way back of gradients through [`project`], for heads that share their connections.
#[derive(Clone, Copy)]
pub(super) struct BackProjection<'a> {
    /// The tile's row of each hidden unit.
    pub(super) hidden: &'a [Row],
    pub(super) runs: &'a [Run],
    pub(super) wiring: &'a Wiring,
    /// The slot at which the gradients of the weights begin.
    pub(super) first_slot: usize,
}

/// One head of a [`BackProjection`].
pub(super) struct HeadRow<'a> {
    pub(super) weights: &'a [f32],
    /// The gradient of a gene's row; zero where the tile is empty.
    pub(super) d: Row,
    /// Gradients of the weights, to which is added.
    pub(super) d_weights: &'a mut [f32],
}

impl BackProjection<'_> {
    /// Adds to the gradients of the hidden units and of a gene's weights.
    #[inline(always)]
    pub(super) fn add<S: Simd, const N: usize>(
        &self,
        simd: S,
        gene: usize,
        mut heads: [HeadRow; N],
        d_hidden: &mut [Row],
    ) {
        if let [run] = self.runs {
            self.add_run(simd, run, gene, &mut heads, d_hidden);
            return;
        }
        let whole: [Row; N] = std::array::from_fn(|k| heads[k].d);
        for run in self.runs {
            let cells = run.cells.clone();
            for (head, whole) in std::iter::zip(&mut heads, &whole) {
                head.d = Row::ZERO;
                head.d.0[cells.clone()].copy_from_slice(&whole.0[cells.clone()]);
            }
            self.add_run(simd, run, gene, &mut heads, d_hidden);
        }
    }

    /// The same with one run's mask; the heads' rows are zero for all other cells.
    #[inline(always)]
    fn add_run<S: Simd, const N: usize>(
        &self,
        simd: S,
        run: &Run,
        gene: usize,
        heads: &mut [HeadRow; N],
        d_hidden: &mut [Row],
    ) {
        let side_by_side = (SUMS / S::F32_LANES).max(1);
        let zero = simd.splat_f32s(0.0);
        let (units, slots) = self.wiring.mask(run.mask).gene(gene);
        for (&unit, &slot) in std::iter::zip(units, slots) {
            let (hidden, _) = S::as_simd_f32s(&self.hidden[usize::from(unit)].0);
            let (d_hidden, _) = S::as_mut_simd_f32s(&mut d_hidden[usize::from(unit)].0);
            let mut products = [[zero; SUMS]; N];
            let weights: [_; N] =
                std::array::from_fn(|k| simd.splat_f32s(heads[k].weights[slot as usize]));
            for (i, (&h, d_h)) in std::iter::zip(hidden, d_hidden).enumerate() {
                let mut sum = *d_h;
                for k in 0..N {
                    let d = S::as_simd_f32s(&heads[k].d.0).0[i];
                    sum = simd.mul_add_e_f32s(weights[k], d, sum);
                    let product = &mut products[k][i % side_by_side];
                    *product = simd.mul_add_e_f32s(h, d, *product);
                }
                *d_h = sum;
            }
            for (head, products) in std::iter::zip(&mut *heads, &mut products) {
                head.d_weights[slot as usize - self.first_slot] +=
                    halves(simd, products, side_by_side);
            }
        }
    }
}
