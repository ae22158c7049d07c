//! Special functions of the count distributions in double precision.
//!
//! They use nothing but addition, multiplication and division, so that results do not depend on which mathematics
//! library the machine has. Differences of gamma functions are formed as such: a product for small counts, Stirling's
//! series term against term for large ones, never as the difference of two large numbers.

const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1.5 * 2^52: adding it leaves the nearest integer in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;
/// Stirling's series is used from here on; its first term left out is then below 1e-15.
const STIRLING_FROM: f64 = 10.0;
/// Counts below this are multiplied out. Above it both `theta + k` and the rest of the count exceed the line above.
pub(super) const DIRECT_BELOW: f64 = 24.0;

/// `exp(x)` to about one unit in the last place; zero below -708, infinite above 709.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    // Selects rather than early returns: a loop over many values can then use vectors. NaN stays NaN.
    let y = if x < -708.0 { -708.0 } else { x };
    let y = if y > 709.0 { 709.0 } else { y };
    let shifted = y * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (y - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor series to r^13 (the next term is below 4e-18), grouped in pairs to shorten the chain of dependences.
    let r2 = r * r;
    let r4 = r2 * r2;
    let low = (1.0 / 2.0 + r * (1.0 / 6.0)) + r2 * (1.0 / 24.0 + r * (1.0 / 120.0));
    let middle =
        (1.0 / 720.0 + r * (1.0 / 5_040.0)) + r2 * (1.0 / 40_320.0 + r * (1.0 / 362_880.0));
    let high = (1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0))
        + r2 * (1.0 / 479_001_600.0 + r * (1.0 / 6_227_020_800.0));
    let tail = low + r4 * (middle + r4 * high);
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    let e = power * (1.0 + (r + r2 * tail));
    let e = if x < -708.0 { 0.0 } else { e };
    if x > 709.0 {
        f64::INFINITY
    } else {
        e
    }
}

/// `ln(x)` of a positive normal number, to about one unit in the last place; NaN for NaN and infinity.
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;
    // The exponent plus 1024, in the low bits of a number near 2^52: vectors have no other way from integer to double.
    const OFFSET: u64 = 1024;
    const TWO_52_BITS: u64 = 0x4330_0000_0000_0000;
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    let raised = x
        .to_bits()
        .wrapping_sub(SQRT_HALF_BITS)
        .wrapping_add(OFFSET << 52);
    let e = f64::from_bits(raised >> 52 | TWO_52_BITS) - (TWO_52 + OFFSET as f64);
    let m = f64::from_bits((raised & 0x000f_ffff_ffff_ffff) + SQRT_HALF_BITS);
    // ln m = 2 atanh((m - 1) / (m + 1)); the argument is at most 0.172, the series' next term below 3e-17.
    let y = (m - 1.0) / (m + 1.0);
    let w = y * y;
    let w2 = w * w;
    let w4 = w2 * w2;
    let low = (1.0 / 3.0 + w * (1.0 / 5.0)) + w2 * (1.0 / 7.0 + w * (1.0 / 9.0));
    let high = (1.0 / 11.0 + w * (1.0 / 13.0)) + w2 * (1.0 / 15.0 + w * (1.0 / 17.0));
    let tail = low + w4 * (high + w4 * (1.0 / 19.0 + w * (1.0 / 21.0)));
    let y2 = 2.0 * y;
    // The last term is zero unless x is NaN or infinite.
    e * LN2_HIGH + (y2 + (y2 * w * tail + e * LN2_LOW)) + 0.0 * x
}

/// `ln(1 + x)` for `x > -1`, relatively accurate near zero.
#[inline(always)]
pub fn ln_1p(x: f64) -> f64 {
    let w = 1.0 + x;
    // What the sum rounded away, exactly.
    let lost = if x <= 1.0 {
        x - (w - 1.0)
    } else {
        1.0 - (w - x)
    };
    ln(w) + lost / w
}

/// The logistic function, relatively accurate on both sides.
#[inline(always)]
pub fn sigmoid(x: f64) -> f64 {
    let z = exp(-x.abs());
    let large = 1.0 / (1.0 + z);
    if x > 0.0 {
        large
    } else {
        z * large
    }
}

/// `ln(1 + exp(x))`.
#[inline(always)]
pub fn softplus(x: f64) -> f64 {
    ln_1p(exp(-x.abs())) + if x > 0.0 { x } else { 0.0 }
}

/// `ln(exp(a) + exp(b))`.
#[inline(always)]
pub fn logaddexp(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    high + ln_1p(exp(low - high))
}

/// `softplus(x) - sigmoid(x)` without cancellation: `exp(2x) / 2` for very negative `x`.
pub fn softplus_excess(x: f64) -> f64 {
    if x > 0.0 {
        return softplus(x) - sigmoid(x);
    }
    let z = exp(x);
    excess(z, ln_1p(z), 1.0 / (1.0 + z))
}

/// The same for `x <= 0`, from `z = exp(x)`, `ln(1 + z)` and `1 / (1 + z)`.
#[inline(always)]
pub(super) fn excess(z: f64, ln_1p_z: f64, logistic: f64) -> f64 {
    // With y = z / (2 + z): ln(1 + z) = 2 atanh(y), z / (1 + z) = 2y / (1 + y).
    let y = z / (2.0 + z);
    let w = y * y;
    let tail = 1.0 / 3.0 + w * (1.0 / 5.0 + w * (1.0 / 7.0 + w * (1.0 / 9.0 + w * (1.0 / 11.0))));
    // 1 / (1 + y) = (2 + z) / (2 + 2z).
    let small = 2.0 * w * ((1.0 + 0.5 * z) * logistic + y * tail);
    if z >= 0.0625 {
        ln_1p_z - z * logistic
    } else {
        small
    }
}

/// `ln Gamma(y) - (y - 1/2) ln y + y - ln(2 pi) / 2` for `y >= 10`.
#[inline(always)]
fn stirling_rest(y: f64) -> f64 {
    let r = 1.0 / y;
    let w = r * r;
    r * (1.0 / 12.0
        + w * (-1.0 / 360.0
            + w * (1.0 / 1_260.0
                + w * (-1.0 / 1_680.0 + w * (1.0 / 1_188.0 - w * (691.0 / 360_360.0))))))
}

/// `ln(count!)` of a whole `count >= 0`.
#[inline(always)]
pub fn ln_factorial(count: f64) -> f64 {
    if count >= DIRECT_BELOW {
        return (count + 0.5) * ln(count) - count + HALF_LN_TWO_PI + stirling_rest(count);
    }
    let mut product = 1.0;
    let mut i = 2.0;
    while i <= count {
        product *= i;
        i += 1.0;
    }
    ln(product)
}

/// `digamma(y) - ln y` for `y >= 10`.
#[inline(always)]
fn digamma_rest(y: f64) -> f64 {
    let r = 1.0 / y;
    let w = r * r;
    -0.5 * r
        - w * (1.0 / 12.0
            + w * (-1.0 / 120.0
                + w * (1.0 / 252.0
                    + w * (-1.0 / 240.0 + w * (1.0 / 132.0 - w * (691.0 / 32_760.0))))))
}

/// How many factors to split off before Stirling's series serves: all of a small count, else what lifts `theta`.
#[inline(always)]
fn split(theta: f64, count: f64) -> f64 {
    if count < DIRECT_BELOW {
        count
    } else if theta < STIRLING_FROM {
        (STIRLING_FROM - theta).ceil()
    } else {
        0.0
    }
}

/// Differences of the gamma function's relatives between `theta + count` and `theta`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaDifferences {
    /// `ln Gamma(theta + count) - ln Gamma(theta) - ln Gamma(count + 1)`: the logarithm of the negative binomial's
    /// coefficient.
    pub ln_coefficient: f64,
    /// `digamma(theta + count) - digamma(theta)`.
    pub digamma: f64,
    /// `count - theta * digamma`, which is small when `theta` is large.
    pub deficit: f64,
}

/// All of them at once, for `theta > 0` and a whole `count >= 0`.
#[inline(always)]
pub fn gamma_differences(theta: f64, count: f64) -> GammaDifferences {
    let first = split(theta, count);
    let rest = count - first;
    let mut product = 1.0;
    let mut ln_coefficient = 0.0;
    let mut digamma = 0.0;
    let mut deficit = 0.0;
    let mut i = 0.0;
    while i < first {
        let step = theta + i;
        product *= step / (rest + 1.0 + i);
        // Far from overflow for any reasonable theta; an unreasonable one must not give infinity.
        if product > 1e200 {
            ln_coefficient += ln(product);
            product = 1.0;
        }
        let term = 1.0 / step;
        digamma += term;
        deficit += i * term;
        i += 1.0;
    }
    if first > 0.0 {
        ln_coefficient += ln(product);
    }
    if rest > 0.0 {
        let low = theta + first;
        let high = theta + count;
        let ln_ratio = ln_1p(rest / low);
        ln_coefficient += low * ln_ratio + rest * ln_1p(low / rest) + 0.5 * ln(low / (high * rest))
            - HALF_LN_TWO_PI
            + (stirling_rest(high) - stirling_rest(low) - stirling_rest(rest));
        digamma += ln_ratio + (digamma_rest(high) - digamma_rest(low));
        deficit = count - theta * digamma;
    }
    GammaDifferences {
        ln_coefficient,
        digamma,
        deficit,
    }
}
