//! Single-precision elementary functions without branches or calls, so that the compiler can turn a loop over cells
//! into vector instructions. `simd` is a token of the instructions that may be used: with vectors comes the fused
//! multiply-add, so that all processors that have it give the same bits.
//!
//! Each function names its error bound; tests hold it against double precision over the whole range.

use pulp::Simd;

/// Below this the exponential is taken as zero: `exp(-87)` is the last power that stays a normal number throughout.
const EXP_LOWEST: f32 = -87.0;
/// Above this the exponential is infinite.
const EXP_HIGHEST: f32 = 88.722_83;
/// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; products of the first with integers up to 2^15 are exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `a * b + c`, rounded once where the processor can.
#[inline(always)]
fn mul_add<S: Simd>(_: S, a: f32, b: f32, c: f32) -> f32 {
    if S::F32_LANES == 1 {
        a * b + c
    } else {
        a.mul_add(b, c)
    }
}

/// Splits `x = n ln 2 + r` with `|r| <= ln 2 / 2`; returns `(2^n, exp(r) - 1)`. `x` must lie within the range above.
#[inline(always)]
fn reduce<S: Simd>(simd: S, x: f32) -> (f32, f32) {
    let fma = |a, b, c| mul_add(simd, a, b, c);
    let shifted = fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, x));
    // Minimax polynomial of (exp(r) - 1 - r) / r^2, error 8e-9 of the result.
    let p = fma(1.392_625_1e-3, r, 8.363_233e-3);
    let p = fma(p, r, 4.166_655_4e-2);
    let p = fma(p, r, 1.666_657_7e-1);
    let p = fma(p, r, 0.5);
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (power, fma(r * r, p, r))
}

/// Comparisons rather than `f32::clamp`, so that NaN stays NaN and the loop stays one of plain selects.
#[inline(always)]
fn bounded(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high {
        high
    } else {
        x
    }
}

/// `exp(x)`. Relative error below 2e-7; zero for `x < -87`, infinite for `x > 88.72`, NaN for NaN.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: f32) -> f32 {
    // Half the argument near the top, so that 2^n stays a finite number; squared again below.
    let high = x > 87.0;
    let y = bounded(x, EXP_LOWEST, EXP_HIGHEST) - if high { 1.0 } else { 0.0 };
    let (power, m1) = reduce(simd, y);
    let e = power * (1.0 + m1) * if high { std::f32::consts::E } else { 1.0 };
    let e = if x < EXP_LOWEST { 0.0 } else { e };
    if x > EXP_HIGHEST {
        f32::INFINITY
    } else {
        e
    }
}

/// `exp(-|x|)`, the part that softplus and the logistic function share. Relative error below 2e-7 to `|x| = 87`,
/// constant (1.6e-38) beyond.
#[inline(always)]
pub fn exp_neg_abs<S: Simd>(simd: S, x: f32) -> f32 {
    let y = -x.abs();
    let (power, m1) = reduce(simd, if y < EXP_LOWEST { EXP_LOWEST } else { y });
    mul_add(simd, power, m1, power)
}

/// `1 - exp(x)` for `x <= 0`. Relative error below 4e-7, near zero too.
#[inline(always)]
pub fn one_minus_exp<S: Simd>(simd: S, x: f32) -> f32 {
    let (power, m1) = reduce(simd, if x < EXP_LOWEST { EXP_LOWEST } else { x });
    mul_add(simd, -power, m1, 1.0 - power)
}

/// `atanh(y) / y - 1`, over `y^2`, for `|y| <= 1/3` (`square` is `y^2`): minimax polynomial, error 4e-10 of atanh.
#[inline(always)]
fn atanh_tail<S: Simd>(simd: S, square: f32) -> f32 {
    let fma = |a, b, c| mul_add(simd, a, b, c);
    let p = fma(0.116_121_65, square, 0.108_532_88);
    let p = fma(p, square, 0.142_961_8);
    let p = fma(p, square, 0.199_998_53);
    fma(p, square, 0.333_333_34)
}

/// `2 atanh(y)` for `|y| <= 1/3`. With `y = x / (2 + x)` this is `ln(1 + x)` for `-0.5 <= x <= 1`; with
/// `y = (a - b) / (a + b)` it is `ln(a / b)` for a ratio between a half and two. Relative error below 3e-7 in `y`'s.
#[inline(always)]
pub fn twice_atanh<S: Simd>(simd: S, y: f32) -> f32 {
    let square = y * y;
    let y2 = 2.0 * y;
    mul_add(simd, y2 * square, atanh_tail(simd, square), y2)
}

/// `ln(1 + x)` for `x >= 0`. Relative error below 4e-7.
#[inline(always)]
pub fn ln_1p<S: Simd>(simd: S, x: f32) -> f32 {
    let (sum, small) = (1.0 + x, x < 1.0);
    let bits = sum.to_bits();
    // `sum` is `mantissa * 2^exponent`, the mantissa from one to below two.
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let exponent = if small {
        0.0
    } else {
        (bits >> 23) as i32 as f32 - 127.0
    };
    let numerator = if small { x } else { mantissa - 1.0 };
    let denominator = if small { 2.0 + x } else { mantissa + 1.0 };
    let rest = twice_atanh(simd, numerator / denominator);
    mul_add(simd, exponent, std::f32::consts::LN_2, rest)
}

/// Softplus and what goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Softplus {
    /// `ln(1 + exp(x))`.
    pub value: f32,
    /// Its derivative, the logistic function of `x`.
    pub slope: f32,
    /// `value - slope`, formed without cancellation: `exp(2x) / 2` for very negative `x`.
    pub excess: f32,
}

/// Softplus, logistic function and their difference, with one exponential and one division between them. Relative
/// errors stay below 5e-7 down to `x = -87`, the difference's below 1e-6 down to `x = -43`, where it leaves the range of
/// numbers.
#[inline(always)]
pub fn softplus_parts<S: Simd>(simd: S, x: f32) -> Softplus {
    let z = exp_neg_abs(simd, x);
    let one_z = 1.0 + z;
    let two_z = 2.0 + z;
    let both = 1.0 / (one_z * two_z);
    let logistic_abs = two_z * both;
    let y = z * (one_z * both);
    let square = y * y;
    let tail = atanh_tail(simd, square);
    let y2 = 2.0 * y;
    let ln_1p = mul_add(simd, y2 * square, tail, y2);
    let positive = x > 0.0;
    let value = ln_1p + if positive { x } else { 0.0 };
    let slope = if positive {
        logistic_abs
    } else {
        z * logistic_abs
    };
    // For x <= 0, in y: ln(1 + z) = 2y + 2y^3 tail, z / (1 + z) = 2y / (1 + y), 1 / (1 + y) = (2 + z) / (2 + 2z).
    let excess_negative = square * mul_add(simd, two_z, two_z * both, y2 * tail);
    let excess = if positive {
        value - slope
    } else {
        excess_negative
    };
    Softplus {
        value,
        slope,
        excess,
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Scalar, WithSimd};

    use super::*;

    /// Largest relative error of `f` against `exact` over every hundredth of `[low, high]` and some odd points.
    fn worst(low: i32, high: i32, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let points = (low * 100..=high * 100).map(|i| i as f32 * 0.01);
        let near_zero = (0..60).flat_map(|k| [-1.0, 1.0].map(|s: f32| s * 1.7f32 * 0.5f32.powi(k)));
        let inside = near_zero.filter(|x| (low as f32..=high as f32).contains(x));
        points.chain(inside).fold(0.0, |worst: f64, x| {
            let want = exact(f64::from(x));
            assert!(want != 0.0 || f(x) == 0.0);
            if want == 0.0 {
                return worst;
            }
            let error = ((f64::from(f(x)) - want) / want).abs();
            assert!(!error.is_nan(), "{x}");
            worst.max(error)
        })
    }

    struct WithinBounds;

    impl WithSimd for WithinBounds {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            within_bounds(simd);
        }
    }

    #[test]
    fn errors_stay_within_their_bounds() {
        within_bounds(Scalar);
        Arch::new().dispatch(WithinBounds);
    }

    fn within_bounds<S: Simd>(simd: S) {
        let ln_1p_exp = |x: f64| x.exp().ln_1p();
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let excess = |x: f64| crate::kernels::special::softplus_excess(x);
        assert!(worst(-87, 88, |x| exp(simd, x), f64::exp) < 2e-7);
        assert!(worst(-87, 87, |x| exp_neg_abs(simd, x), |x| (-x.abs()).exp()) < 2e-7);
        assert!(worst(-87, 0, |x| one_minus_exp(simd, x), |x| -x.exp_m1()) < 4e-7);
        assert!(worst(-87, 200, |x| softplus_parts(simd, x).value, ln_1p_exp) < 5e-7);
        assert!(worst(-87, 200, |x| softplus_parts(simd, x).slope, logistic) < 5e-7);
        assert!(worst(-43, 200, |x| softplus_parts(simd, x).excess, excess) < 1e-6);
        assert!(worst(0, 10_000, |x| super::ln_1p(simd, x), f64::ln_1p) < 4e-7);
        for x in [3e5, 1e9, 1e30] {
            let error = f64::from(super::ln_1p(simd, x)) / f64::from(x).ln_1p() - 1.0;
            assert!(error.abs() < 4e-7, "{x}");
        }
        let ln_1p = |x: f32| twice_atanh(simd, x / (2.0 + x));
        for i in -5000..=10_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).ln_1p();
            assert!(
                (f64::from(ln_1p(x)) - want).abs() <= 3e-7 * want.abs(),
                "{x}"
            );
        }
    }

    #[test]
    fn ends_of_the_range_are_as_stated() {
        let simd = Scalar;
        assert_eq!(exp(simd, -87.1), 0.0);
        assert_eq!(exp(simd, f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(simd, 88.73), f32::INFINITY);
        assert_eq!(exp(simd, f32::INFINITY), f32::INFINITY);
        assert!(exp(simd, 88.7) < f32::MAX);
        assert_eq!(exp(simd, 0.0), 1.0);
        assert!(exp_neg_abs(simd, f32::INFINITY) < 2e-38);
        assert_eq!(one_minus_exp(simd, 0.0), 0.0);
        assert_eq!(softplus_parts(simd, f32::INFINITY).value, f32::INFINITY);
        assert!(exp(simd, f32::NAN).is_nan() && exp_neg_abs(simd, f32::NAN).is_nan());
        assert!(
            one_minus_exp(simd, f32::NAN).is_nan() && softplus_parts(simd, f32::NAN).value.is_nan()
        );
    }
}
