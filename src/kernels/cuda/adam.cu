// A step of Adam with L2 weight decay inside the gradient, as torch's Adam: formulae of kernels/adam.rs. One launch moves
// all parameters.
#include "common.cuh"

#define VALUES_OF_BLOCK 1024

struct Update {
    float *parameter;
    const float *gradient;
    float *moments; // of the gradients, then of their squares
    const u32 *rows; // which rows of the parameter the gradient is of, or null
    u64 n_parameter;
    int n; // values of the gradient
    int of_row;
    int first_block;
    float weight_decay;
};

// As many as a launch's arguments have room for.
#define MOST_UPDATES 48

struct AdamArgs {
    Update updates[MOST_UPDATES];
    int n_updates;
    float beta_1, beta_2, step, root_correction, eps;
};

extern "C" __global__ void adam(AdamArgs a) {
    int k = 0;
    while (k + 1 < a.n_updates && (int)blockIdx.x >= a.updates[k + 1].first_block) k++;
    const Update u = a.updates[k];
    const int from = (blockIdx.x - u.first_block) * VALUES_OF_BLOCK, to = min(from + VALUES_OF_BLOCK, u.n);
    for (int i = from + threadIdx.x; i < to; i += blockDim.x) {
        const size_t at = u.rows ? (size_t)u.rows[i / u.of_row] * u.of_row + i % u.of_row : i;
        float *first = u.moments + at, *second = u.moments + u.n_parameter + at;
        const float g = u.gradient[i] + u.weight_decay * u.parameter[at];
        const float m = a.beta_1 * *first + (1.0f - a.beta_1) * g;
        const float v = a.beta_2 * *second + (1.0f - a.beta_2) * g * g;
        *first = m;
        *second = v;
        u.parameter[at] -= a.step * m / (sqrtf(v) / a.root_correction + a.eps);
    }
}
