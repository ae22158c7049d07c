// Kernels with a fault each, and the same without it.
#include "cuda_on_cpu.h"

struct Args {
    const float *in;
    float *out;
    int n;
};

#define THREADS 64

// The sum of a block's values, by halves.
template <bool BARRIERS> __device__ inline void sum_by_halves(const Args &a, float *values) {
    const int t = threadIdx.x;
    values[t] = a.in[blockIdx.x * THREADS + t];
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (BARRIERS) __syncthreads();
        if (t < half) values[t] += values[t + half];
    }
    if (t == 0) a.out[blockIdx.x] = values[0];
}

extern "C" __global__ void __launch_bounds__(THREADS) sum(Args a) {
    __shared__ float values[THREADS];
    sum_by_halves<true>(a, values);
}

extern "C" __global__ void sum_in_dynamic_memory(Args a) {
    DYNAMIC_SHARED(float, values);
    sum_by_halves<true>(a, values);
}

extern "C" __global__ void sum_without_barriers(Args a) {
    __shared__ float values[THREADS];
    sum_by_halves<false>(a, values);
}

// Each lane gets the value of the one before, through memory.
__device__ inline int before(int lane) { return lane == 0 ? 0 : lane - 1; }

extern "C" __global__ void pass_on(Args a) {
    __shared__ float values[32];
    values[threadIdx.x] = a.in[threadIdx.x];
    __syncwarp();
    a.out[threadIdx.x] = values[before(threadIdx.x)];
}

extern "C" __global__ void pass_on_without_barrier(Args a) {
    __shared__ float values[32];
    values[threadIdx.x] = a.in[threadIdx.x];
    a.out[threadIdx.x] = values[before(threadIdx.x)];
}

extern "C" __global__ void divergent_barriers(Args a) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        a.out[0] = 1.0f;
        __syncthreads();
    }
}

extern "C" __global__ void divergent_shuffle(Args a) {
    float x = a.in[threadIdx.x];
    if (threadIdx.x < 16) x += __shfl_xor_sync(0xffffffffu, x, 1);
    __syncthreads();
    a.out[threadIdx.x] = x;
}

extern "C" __global__ void lane_outside_of_mask(Args a) {
    a.out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, a.in[threadIdx.x], 1);
}

extern "C" __global__ void shared_before_written(Args a) {
    __shared__ float values[THREADS];
    if (threadIdx.x > 0) values[threadIdx.x] = 1.0f;
    __syncthreads();
    a.out[threadIdx.x] = values[threadIdx.x];
}

// Block 1 counts on block 0.
extern "C" __global__ void counts_on_other_block(Args a) {
    if (threadIdx.x == 0) a.out[blockIdx.x] = blockIdx.x == 0 ? 1.0f : a.out[blockIdx.x - 1] + 1.0f;
}

// a.n is how far beyond (or, if negative, before) the memory it reaches.
extern "C" __global__ void write_outside(Args a) {
    if (threadIdx.x == 0) a.out[a.n] = 1.0f;
}

extern "C" __global__ void read_outside(Args a) {
    if (threadIdx.x == 0) a.out[0] = a.in[a.n];
}

extern "C" __global__ void write_outside_of_static_shared(Args a) {
    __shared__ float values[THREADS];
    values[threadIdx.x + a.n] = 1.0f;
    __syncthreads();
    a.out[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void write_outside_of_dynamic_shared(Args a) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x + a.n] = 1.0f;
    __syncthreads();
    a.out[threadIdx.x] = values[threadIdx.x];
}
