// The latent variables: the draw, and the divergence of q(z | x) from the standard normal, forwards and backwards. The
// variance is exp(log_variance) + least.
#include "common.cuh"

struct LatentArgs {
    const float *mean;         // cells x dimensions
    const float *log_variance; // cells x dimensions
    const float *noise;        // cells x dimensions
    int n_cells;
    int n_latent;
    float least;
    const float *d_out; // of the draw, or of the divergence: one number
    float *out;
    float *d_mean;
    float *d_log_variance;
};

extern "C" __global__ void draw(LatentArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.n_cells * a.n_latent) return;
    a.out[i] = a.mean[i] + sqrtf(expf(a.log_variance[i]) + a.least) * a.noise[i];
}

extern "C" __global__ void draw_back(LatentArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.n_cells * a.n_latent) return;
    const float power = expf(a.log_variance[i]);
    a.d_mean[i] = a.d_out[i];
    a.d_log_variance[i] = a.d_out[i] * a.noise[i] * 0.5f * power / sqrtf(power + a.least);
}

// The mean over cells, in one block.
extern "C" __global__ void __launch_bounds__(1024) divergence(LatentArgs a) {
    __shared__ double parts[1024 / LANES];
    const int n = a.n_cells * a.n_latent;
    double sum = 0.0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const float variance = expf(a.log_variance[i]) + a.least;
        sum += a.mean[i] * a.mean[i] + variance - (logf(variance) + 1.0f);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % LANES == 0) parts[threadIdx.x / LANES] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0.0;
    for (int k = 0; k < (int)(blockDim.x / LANES); k++) sum += parts[k];
    a.out[0] = (float)(0.5 * sum / a.n_cells);
}

extern "C" __global__ void divergence_back(LatentArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.n_cells * a.n_latent) return;
    const float power = expf(a.log_variance[i]), d = a.d_out[0] / a.n_cells;
    a.d_mean[i] = d * a.mean[i];
    a.d_log_variance[i] = d * 0.5f * (1.0f - 1.0f / (power + a.least)) * power;
}
