//! One value for each cell of a tile. Sums over a row are formed in an order that does not depend on the width of the
//! processor's vectors.

use pulp::Simd;

/// Cells of a tile: enough for the widest vectors, few enough that the hidden units of a tile stay in the first-level
/// cache.
pub(super) const TILE: usize = 128;
/// Values are added up side by side in so many sums, whatever the width of the vectors.
pub(super) const SUMS: usize = 16;

/// One value for each cell of a tile, on a cache line's boundary.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Row(pub(super) [f32; TILE]);

impl Row {
    pub(super) const ZERO: Row = Row([0.0; TILE]);
}

/// Sum of the products of two rows.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, a: &Row, b: &Row) -> f32 {
    let (a, _) = S::as_simd_f32s(&a.0);
    let (b, _) = S::as_simd_f32s(&b.0);
    fold(simd, |i, sum| simd.mul_add_e_f32s(a[i], b[i], sum))
}

/// Sum of a row.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, row: &Row) -> f32 {
    let (row, _) = S::as_simd_f32s(&row.0);
    fold(simd, |i, sum| simd.add_f32s(row[i], sum))
}

/// Adds up the vectors of a row: those whose cells agree modulo `SUMS` one after the other, then the sums by halves.
#[inline(always)]
fn fold<S: Simd>(simd: S, add: impl Fn(usize, S::f32s) -> S::f32s) -> f32 {
    let side_by_side = (SUMS / S::F32_LANES).max(1);
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    for i in 0..TILE / S::F32_LANES {
        let sum = &mut sums[i % side_by_side];
        *sum = add(i, *sum);
    }
    halves(simd, &mut sums, side_by_side)
}

/// The sum of `n` vectors and their places, always half with half.
#[inline(always)]
pub(super) fn halves<S: Simd>(simd: S, sums: &mut [S::f32s; SUMS], mut n: usize) -> f32 {
    while n > 1 {
        n /= 2;
        for i in 0..n {
            sums[i] = simd.add_f32s(sums[i], sums[i + n]);
        }
    }
    simd.reduce_sum_f32s(sums[0])
}
