// The count distributions: zeros in single precision, counts above zero in double precision. The formulae are those of
// kernels/distributions, kernels/math.rs and kernels/special.rs, where their errors are bounded.
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

__device__ inline double stirling_rest(double y) {
    const double r = 1.0 / y, w = r * r;
    return r * (1.0 / 12 + w * (-1.0 / 360 + w * (1.0 / 1260 + w * (-1.0 / 1680 + w * (1.0 / 1188 - w * (691.0 / 360360))))));
}

__device__ inline double digamma_rest(double y) {
    const double r = 1.0 / y, w = r * r;
    return -0.5 * r
        - w * (1.0 / 12 + w * (-1.0 / 120 + w * (1.0 / 252 + w * (-1.0 / 240 + w * (1.0 / 132 - w * (691.0 / 32760))))));
}

// Differences of the gamma function's relatives between theta + count and theta.
struct GammaDifferences {
    double ln_coefficient, digamma, deficit;
};

__device__ inline GammaDifferences gamma_differences(double theta, double count) {
    double first = count < DIRECT_BELOW ? count : theta < STIRLING_FROM ? ceil(STIRLING_FROM - theta) : 0.0;
    const double rest = count - first;
    double product = 1.0;
    GammaDifferences g = {0.0, 0.0, 0.0};
    for (double i = 0.0; i < first; i += 1.0) {
        const double step = theta + i, term = 1.0 / step;
        product *= step / (rest + 1.0 + i);
        if (product > 1e200) {
            g.ln_coefficient += log(product);
            product = 1.0;
        }
        g.digamma += term;
        g.deficit += i * term;
    }
    if (first > 0.0) g.ln_coefficient += log(product);
    if (rest > 0.0) {
        const double low = theta + first, high = theta + count, ln_ratio = log1p(rest / low);
        g.ln_coefficient += low * ln_ratio + rest * log1p(low / rest) + 0.5 * log(low / (high * rest)) - HALF_LN_TWO_PI
            + (stirling_rest(high) - stirling_rest(low) - stirling_rest(rest));
        g.digamma += ln_ratio + (digamma_rest(high) - digamma_rest(low));
        g.deficit = count - theta * g.digamma;
    }
    return g;
}

// ln(1 + z) - z / (1 + z), for 0 <= z <= 1, without cancellation.
__device__ inline double excess(double z, double ln_1p_z, double logistic) {
    if (z >= 0.0625) return ln_1p_z - z * logistic;
    const double y = z / (2.0 + z), w = y * y;
    const double tail = 1.0 / 3 + w * (1.0 / 5 + w * (1.0 / 7 + w * (1.0 / 9 + w * (1.0 / 11))));
    return 2.0 * w * ((1.0 + 0.5 * z) * logistic + y * tail);
}

__device__ inline double ln_factorial(double count) {
    if (count >= DIRECT_BELOW) return (count + 0.5) * log(count) - count + HALF_LN_TWO_PI + stirling_rest(count);
    double product = 1.0;
    for (double i = 2.0; i <= count; i += 1.0) product *= i;
    return log(product);
}

// Its value is returned apart, in double precision.
template <Likelihood KIND>
__device__ inline Entry positive(double count, double log_mu, double dropout, const Dispersion &gene, double &value) {
    Entry e;
    e.d_dropout = e.d_log_theta = 0.0f;
    if (KIND == POISSON) {
        const double mu = exp(log_mu);
        value = count * log_mu - mu - ln_factorial(count);
        e.d_log_mu = (float)(count - mu);
        e.expected = (float)mu;
        return e;
    }
    const double u = log_mu - gene.log_theta, theta = gene.theta;
    const double z = exp(-fabs(u)), ln_1p_z = log1p(z), large = 1.0 / (1.0 + z);
    const GammaDifferences differences = gamma_differences(theta, count);
    // Two forms of one expression: each avoids the other's cancellation on its side.
    if (u > 0.0) {
        const double d_log_mu = count * (z * large) - theta * large;
        value = differences.ln_coefficient - theta * (u + ln_1p_z) - count * ln_1p_z;
        e.d_log_mu = (float)d_log_mu;
        e.d_log_theta = (float)(theta * (differences.digamma - u - ln_1p_z) - d_log_mu);
    } else {
        value = differences.ln_coefficient - theta * ln_1p_z - count * (ln_1p_z - u);
        e.d_log_mu = (float)((count - theta * z) * large);
        e.d_log_theta = (float)(count * z * large - differences.deficit - theta * excess(z, ln_1p_z, large));
    }
    double expected = exp(log_mu);
    if (KIND == ZINB) {
        const double zl = exp(-fabs(dropout)), at_most = 1.0 / (1.0 + zl);
        value -= log1p(zl) + fmax(dropout, 0.0);
        e.d_dropout = (float)-(dropout > 0.0 ? at_most : zl * at_most);
        expected *= dropout > 0.0 ? zl * at_most : at_most;
    }
    e.expected = (float)expected;
    return e;
}
