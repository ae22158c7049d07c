// Batch normalisation of cells x features, ReLU and dropout in one, forwards and backwards: sums over cells in double
// precision. A block has 8 features side by side; its rows of threads share the cells.
#include "common.cuh"

#define FEATURES 8
#define CELLS_AT_ONCE 64
#define OF_WARP (LANES / FEATURES)
#define WARPS (FEATURES * CELLS_AT_ONCE / LANES)

struct ActivateArgs {
    const float *x;
    const float *gamma;
    const float *beta;
    int n_cells;
    int n_features;
    int rectifies; // 0: the normalisation alone
    const float *factors; // of the dropout, cells x features, or null
    double epsilon;
    double momentum;
    double *mean;
    double *variance;
    float *running_mean;
    float *running_variance;
    float *out;
    const float *d_out;
    float *d_x;
    float *d_gamma;
    float *d_beta;
};

// The sum over a feature's threads: first within each warp, then over the warps in their order.
__device__ inline double over_cells(double x, double (&all)[WARPS][FEATURES]) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, feature = threadIdx.x % FEATURES;
    for (int d = LANES / 2; d >= FEATURES; d >>= 1) x += __shfl_xor_sync(ALL_LANES, x, d);
    __syncthreads();
    if (lane < FEATURES) all[warp][feature] = x;
    __syncthreads();
    double sum = 0.0;
    for (int k = 0; k < WARPS; k++) sum += all[k][feature];
    return sum;
}

extern "C" __global__ void __launch_bounds__(FEATURES *CELLS_AT_ONCE) activate(ActivateArgs a) {
    __shared__ double all[WARPS][FEATURES];
    const int feature = blockIdx.x * FEATURES + threadIdx.x % FEATURES, first = threadIdx.x / FEATURES;
    const bool exists = feature < a.n_features;
    const float *x = a.x + feature;
    double sum = 0.0;
    for (int c = first; exists && c < a.n_cells; c += CELLS_AT_ONCE) sum += x[(size_t)c * a.n_features];
    const double mean = over_cells(sum, all) / a.n_cells;
    sum = 0.0;
    for (int c = first; exists && c < a.n_cells; c += CELLS_AT_ONCE) {
        const double apart = x[(size_t)c * a.n_features] - mean;
        sum += apart * apart;
    }
    const double variance = over_cells(sum, all) / a.n_cells;
    if (!exists) return;
    const float m = (float)mean, scale = (float)(1.0 / sqrt(variance + a.epsilon));
    const float gamma = a.gamma[feature], beta = a.beta[feature];
    for (int c = first; c < a.n_cells; c += CELLS_AT_ONCE) {
        const size_t at = (size_t)c * a.n_features + feature;
        float y = gamma * ((a.x[at] - m) * scale) + beta;
        if (a.rectifies) y = y > 0.0f ? y : 0.0f;
        a.out[at] = a.factors ? y * a.factors[at] : y;
    }
    if (first != 0) return;
    a.mean[feature] = mean;
    a.variance[feature] = variance;
    const double unbiased = variance * a.n_cells / (a.n_cells > 1 ? a.n_cells - 1 : 1);
    const float kept = (float)(1.0 - a.momentum), fresh = (float)a.momentum;
    a.running_mean[feature] = a.running_mean[feature] * kept + m * fresh;
    a.running_variance[feature] = a.running_variance[feature] * kept + (float)unbiased * fresh;
}

// The same by running statistics, which stay as they are.
extern "C" __global__ void apply(ActivateArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, feature = i % a.n_features;
    if (i >= a.n_cells * a.n_features) return;
    const float sd = sqrtf(a.running_variance[feature] + (float)a.epsilon);
    const float y = (a.x[i] - a.running_mean[feature]) / sd * a.gamma[feature] + a.beta[feature];
    a.out[i] = y > 0.0f ? y : 0.0f;
}

extern "C" __global__ void apply_back(ActivateArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, feature = i % a.n_features;
    if (i >= a.n_cells * a.n_features) return;
    const float sd = sqrtf(a.running_variance[feature] + (float)a.epsilon);
    const float y = (a.x[i] - a.running_mean[feature]) / sd * a.gamma[feature] + a.beta[feature];
    a.d_x[i] = y >= 0.0f ? a.d_out[i] * a.gamma[feature] / sd : 0.0f;
}

extern "C" __global__ void __launch_bounds__(FEATURES *CELLS_AT_ONCE) activate_back(ActivateArgs a) {
    __shared__ double all[WARPS][FEATURES];
    const int feature = blockIdx.x * FEATURES + threadIdx.x % FEATURES, first = threadIdx.x / FEATURES;
    const bool exists = feature < a.n_features;
    const double mean = exists ? a.mean[feature] : 0.0;
    const float m = (float)mean, scale = exists ? (float)(1.0 / sqrt(a.variance[feature] + a.epsilon)) : 0.0f;
    const float gamma = exists ? a.gamma[feature] : 0.0f, beta = exists ? a.beta[feature] : 0.0f;
    // The gradient of what the normalisation gave.
    const auto arriving = [&](size_t at) {
        float d = a.d_out[at];
        if (a.factors) d *= a.factors[at];
        return a.rectifies && !(gamma * ((a.x[at] - m) * scale) + beta >= 0.0f) ? 0.0f : d;
    };
    double sum = 0.0, along = 0.0;
    for (int c = first; exists && c < a.n_cells; c += CELLS_AT_ONCE) {
        const size_t at = (size_t)c * a.n_features + feature;
        const double d = arriving(at);
        sum += d;
        along += d * ((a.x[at] - mean) * scale);
    }
    sum = over_cells(sum, all);
    along = over_cells(along, all);
    if (!exists) return;
    const float factor = gamma * scale;
    for (int c = first; c < a.n_cells; c += CELLS_AT_ONCE) {
        const size_t at = (size_t)c * a.n_features + feature;
        // The mean and the variance depend on x, too: what moves along with them is taken out.
        const double with_them = (sum + (a.x[at] - mean) * scale * along) / a.n_cells;
        a.d_x[at] = factor * (float)(arriving(at) - with_them);
    }
    if (first != 0) return;
    a.d_gamma[feature] = (float)along;
    a.d_beta[feature] = (float)sum;
}
