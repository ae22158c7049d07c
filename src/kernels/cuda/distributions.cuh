// The count distributions: zeros and counts that are multiplied out in single precision, larger counts in double
// precision. The formulae are those of kernels/distributions, kernels/math.rs and kernels/special.rs.
#pragma once
#include "common.cuh"

enum Likelihood { ZINB, NB, POISSON };

// One count's log-probability, its derivatives and the count's expectation.
struct Entry {
    float value, d_log_mu, d_dropout, d_log_theta, expected;
};

// A gene's dispersion and its logarithm, in double precision for counts above zero.
struct Dispersion {
    double theta, log_theta;
};

// ---- zeros ----

__device__ inline float atanh_tail(float square) {
    float p = fmaf(0.11612165f, square, 0.10853288f);
    p = fmaf(p, square, 0.1429618f);
    p = fmaf(p, square, 0.19999853f);
    return fmaf(p, square, 0.33333334f);
}

__device__ inline float twice_atanh(float y) {
    const float square = y * y, y2 = 2.0f * y;
    return fmaf(y2 * square, atanh_tail(square), y2);
}

__device__ inline float exp_neg_abs(float x) { return expf(fmaxf(-fabsf(x), -87.0f)); }

// The negative binomial at zero; `u` is ln(mu / theta).
__device__ inline Entry nb_zero(float u, float theta) {
    const float z = exp_neg_abs(u), one_z = 1.0f + z, two_z = 2.0f + z;
    const float both = __fdividef(1.0f, one_z * two_z), logistic = two_z * both;
    const float y = z * (one_z * both), square = y * y, tail = atanh_tail(square), y2 = 2.0f * y;
    const float softplus = fmaf(y2 * square, tail, y2) + fmaxf(u, 0.0f);
    const float slope = u > 0.0f ? logistic : z * logistic;
    // Softplus minus slope, without cancellation on the side of small means.
    const float excess = u > 0.0f ? softplus - slope : square * fmaf(two_z, two_z * both, y2 * tail);
    Entry e;
    e.value = -theta * softplus;
    e.d_log_mu = -theta * slope;
    e.d_dropout = 0.0f;
    e.d_log_theta = -theta * excess;
    return e;
}

// Extra zeros, mixed in.
__device__ inline void inflate_zero(Entry &e, float logit) {
    const float log_nb = e.value, gap = log_nb - logit;
    const float z_logit = exp_neg_abs(logit), z_gap = exp_neg_abs(gap);
    const float both = __fdividef(1.0f, (1.0f + z_logit) * (1.0f + z_gap));
    const float kept = (logit > 0.0f ? z_logit : 1.0f) * ((1.0f + z_gap) * both);
    const float large = (1.0f + z_logit) * both, small = z_gap * large;
    // Whether the zero is the distribution's own, or an extra one.
    const float own = gap > 0.0f ? large : small, extra = gap > 0.0f ? small : large;
    const float positive = kept * -expm1f(log_nb);
    // ln(1 - positive), or where that cancels logaddexp(logit, log_nb) - softplus(logit).
    const bool near = positive < 0.5f;
    const float numerator = near ? -positive : z_gap - z_logit;
    const float denominator = 2.0f + (near ? -positive : z_gap + z_logit);
    e.value = (near ? 0.0f : (gap > 0.0f ? log_nb : logit)) + twice_atanh(__fdividef(numerator, denominator));
    e.d_log_mu *= own;
    e.d_log_theta *= own;
    e.d_dropout = extra * positive;
    e.expected *= kept;
}

// `dropout` is the logit of the extra zeros.
template <Likelihood KIND> __device__ inline Entry zero(float log_mu, float dropout, float theta, float log_theta) {
    Entry e;
    if (KIND == POISSON) {
        const float mu = expf(log_mu);
        e.value = e.d_log_mu = -mu;
        e.d_dropout = e.d_log_theta = 0.0f;
        e.expected = mu;
        return e;
    }
    e = nb_zero(log_mu - log_theta, theta);
    e.expected = expf(log_mu);
    if (KIND == ZINB) inflate_zero(e, dropout);
    return e;
}

// ---- counts above zero ----

#define HALF_LN_TWO_PI 0.9189385332046728
#define STIRLING_FROM 10.0
#define DIRECT_BELOW 24.0

template <class T> __device__ inline T stirling_rest(T y) {
    const T r = T(1) / y, w = r * r;
    return r
        * (T(1.0 / 12)
           + w * (T(-1.0 / 360) + w * (T(1.0 / 1260) + w * (T(-1.0 / 1680) + w * (T(1.0 / 1188) - w * T(691.0 / 360360))))));
}

template <class T> __device__ inline T digamma_rest(T y) {
    const T r = T(1) / y, w = r * r;
    return T(-0.5) * r
        - w
        * (T(1.0 / 12)
           + w * (T(-1.0 / 120) + w * (T(1.0 / 252) + w * (T(-1.0 / 240) + w * (T(1.0 / 132) - w * T(691.0 / 32760))))));
}

// Differences of the gamma function's relatives between theta + count and theta.
template <class T> struct GammaDifferences {
    T ln_coefficient, digamma, deficit;
};

template <class T> __device__ inline GammaDifferences<T> gamma_differences(T theta, T count) {
    // What a product may come to before its logarithm is taken: one factor more must not be infinite.
    const T most = sizeof(T) == 4 ? T(1e10) : T(1e200);
    const T first = count < T(DIRECT_BELOW) ? count : theta < T(STIRLING_FROM) ? ceil(T(STIRLING_FROM) - theta) : T(0);
    const T rest = count - first;
    T product = 1;
    GammaDifferences<T> g = {0, 0, 0};
    for (T i = 0; i < first; i += T(1)) {
        const T step = theta + i, term = T(1) / step;
        product *= step / (rest + T(1) + i);
        if (product > most) {
            g.ln_coefficient += log(product);
            product = 1;
        }
        g.digamma += term;
        g.deficit += i * term;
    }
    if (first > T(0)) g.ln_coefficient += log(product);
    if (rest > T(0)) {
        const T low = theta + first, high = theta + count, ln_ratio = log1p(rest / low);
        g.ln_coefficient += low * ln_ratio + rest * log1p(low / rest) + T(0.5) * log(low / (high * rest)) - T(HALF_LN_TWO_PI)
            + (stirling_rest(high) - stirling_rest(low) - stirling_rest(rest));
        g.digamma += ln_ratio + (digamma_rest(high) - digamma_rest(low));
        g.deficit = count - theta * g.digamma;
    }
    return g;
}

// ln(1 + z) - z / (1 + z), for 0 <= z <= 1, without cancellation.
template <class T> __device__ inline T excess(T z, T ln_1p_z, T logistic) {
    if (z >= T(0.0625)) return ln_1p_z - z * logistic;
    const T y = z / (T(2) + z), w = y * y;
    const T tail = T(1.0 / 3) + w * (T(1.0 / 5) + w * (T(1.0 / 7) + w * (T(1.0 / 9) + w * T(1.0 / 11))));
    return T(2) * w * ((T(1) + T(0.5) * z) * logistic + y * tail);
}

template <class T> __device__ inline T ln_factorial(T count) {
    if (count >= T(DIRECT_BELOW))
        return (count + T(0.5)) * log(count) - count + T(HALF_LN_TWO_PI) + stirling_rest(count);
    T product = 1;
    for (T i = 2; i <= count; i += T(1)) product *= i;
    return log(product);
}

template <Likelihood KIND, class T>
__device__ inline Entry positive_in(T count, T log_mu, T dropout, T log_theta, T theta) {
    Entry e;
    e.d_dropout = e.d_log_theta = 0.0f;
    if (KIND == POISSON) {
        const T mu = exp(log_mu);
        e.value = (float)(count * log_mu - mu - ln_factorial(count));
        e.d_log_mu = (float)(count - mu);
        e.expected = (float)mu;
        return e;
    }
    const T u = log_mu - log_theta;
    const T z = exp(-fabs(u)), ln_1p_z = log1p(z), large = T(1) / (T(1) + z);
    const GammaDifferences<T> differences = gamma_differences(theta, count);
    T value;
    // Two forms of one expression: each avoids the other's cancellation on its side.
    if (u > T(0)) {
        const T d_log_mu = count * (z * large) - theta * large;
        value = differences.ln_coefficient - theta * (u + ln_1p_z) - count * ln_1p_z;
        e.d_log_mu = (float)d_log_mu;
        e.d_log_theta = (float)(theta * (differences.digamma - u - ln_1p_z) - d_log_mu);
    } else {
        value = differences.ln_coefficient - theta * ln_1p_z - count * (ln_1p_z - u);
        e.d_log_mu = (float)((count - theta * z) * large);
        e.d_log_theta = (float)(count * z * large - differences.deficit - theta * excess(z, ln_1p_z, large));
    }
    T expected = exp(log_mu);
    if (KIND == ZINB) {
        const T zl = exp(-fabs(dropout)), at_most = T(1) / (T(1) + zl);
        value -= log1p(zl) + (dropout > T(0) ? dropout : T(0));
        e.d_dropout = (float)-(dropout > T(0) ? at_most : zl * at_most);
        expected *= dropout > T(0) ? zl * at_most : at_most;
    }
    e.value = (float)value;
    e.expected = (float)expected;
    return e;
}

template <Likelihood KIND>
__device__ inline Entry positive(float count, double log_mu, float dropout, const Dispersion &gene) {
    if (count < (float)DIRECT_BELOW)
        return positive_in<KIND, float>(count, (float)log_mu, dropout, (float)gene.log_theta, (float)gene.theta);
    return positive_in<KIND, double>(count, log_mu, dropout, gene.log_theta, gene.theta);
}
