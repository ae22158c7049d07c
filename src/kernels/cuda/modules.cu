// The batchified module: x + beta * TanhShrink(x weights^T + bias), forwards and backwards, with weights and bias of its own
// for each segment's rows. One launch does all segments, as there may be as many of them as cells. Products go through
// tiles of 32 x 32 values; a thread has every eighth row of one.
#include "common.cuh"

#define TILE 32
#define ROWS_AT_ONCE 8
#define OF_THREAD (TILE / ROWS_AT_ONCE)

struct ModulesArgs {
    // Addresses of each segment's weights, outputs x inputs, and then of each one's bias; then each one's first row, and
    // the number of rows.
    const u64 *layers;
    const float *x; // rows x n
    int n_segments;
    int n; // inputs, and outputs
    float beta;
    float *slope; // by how much the correction moves with what TanhShrink is given, rows x n
    const float *d_out;
    float *out;
    float *d_weights; // segments x n x n
    float *d_bias;    // segments x n
};

typedef float Tile[TILE][TILE + 1];

struct Layer {
    const float *weights, *bias;
    int first, last; // rows
};

__device__ inline Layer layer_of(const ModulesArgs &a, int segment) {
    const u64 *at = a.layers + segment;
    return {(const float *)at[0], (const float *)at[a.n_segments], (int)at[2 * a.n_segments],
            (int)at[2 * a.n_segments + 1]};
}

// Fills a tile with the values of a table with rows of `n`, from (row, column) on; zero where it ends. All threads come
// here, and all are done with the tile before.
template <class Value>
__device__ inline void fill(Tile &tile, int row, int n_rows, int column, int n, const Value &value) {
    for (int i = threadIdx.y; i < TILE; i += ROWS_AT_ONCE) {
        const bool there = row + i < n_rows && column + (int)threadIdx.x < n;
        tile[i][threadIdx.x] = there ? value((size_t)(row + i) * n + column + threadIdx.x) : 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(TILE *ROWS_AT_ONCE) modules(ModulesArgs a) {
    __shared__ Tile weights, x;
    const int n_tiles = (a.n + TILE - 1) / TILE, from = blockIdx.y % n_tiles * TILE;
    const Layer layer = layer_of(a, blockIdx.x);
    const int first = layer.first + blockIdx.y / n_tiles * TILE, column = from + threadIdx.x;
    if (first >= layer.last) return;
    float sum[OF_THREAD] = {};
    for (int k = 0; k < a.n; k += TILE) {
        __syncthreads();
        fill(weights, from, a.n, k, a.n, [&](size_t i) { return layer.weights[i]; });
        fill(x, first, layer.last, k, a.n, [&](size_t i) { return a.x[i]; });
        __syncthreads();
        for (int i = 0; i < TILE; i++)
            for (int r = 0; r < OF_THREAD; r++)
                sum[r] += weights[threadIdx.x][i] * x[threadIdx.y + r * ROWS_AT_ONCE][i];
    }
    for (int r = 0; r < OF_THREAD; r++) {
        const int row = first + threadIdx.y + r * ROWS_AT_ONCE;
        if (row >= layer.last || column >= a.n) continue;
        const size_t at = (size_t)row * a.n + column;
        const float g = sum[r] + layer.bias[column], t = tanhf(g);
        a.out[at] = a.x[at] + a.beta * (g - t);
        a.slope[at] = a.beta * t * t;
    }
}

extern "C" __global__ void __launch_bounds__(TILE *ROWS_AT_ONCE) modules_back(ModulesArgs a) {
    __shared__ Tile weights, d;
    const int n_tiles = (a.n + TILE - 1) / TILE, from = blockIdx.y % n_tiles * TILE;
    const Layer layer = layer_of(a, blockIdx.x);
    const int first = layer.first + blockIdx.y / n_tiles * TILE, column = from + threadIdx.x;
    if (first >= layer.last) return;
    float sum[OF_THREAD] = {};
    for (int k = 0; k < a.n; k += TILE) {
        __syncthreads();
        fill(weights, k, a.n, from, a.n, [&](size_t i) { return layer.weights[i]; });
        fill(d, first, layer.last, k, a.n, [&](size_t i) { return a.slope[i] * a.d_out[i]; });
        __syncthreads();
        for (int i = 0; i < TILE; i++)
            for (int r = 0; r < OF_THREAD; r++)
                sum[r] += d[threadIdx.y + r * ROWS_AT_ONCE][i] * weights[i][threadIdx.x];
    }
    for (int r = 0; r < OF_THREAD; r++) {
        const int row = first + threadIdx.y + r * ROWS_AT_ONCE;
        if (row >= layer.last || column >= a.n) continue;
        const size_t at = (size_t)row * a.n + column;
        a.out[at] = a.d_out[at] + sum[r];
    }
}

// The rows of a segment are added in their order.
extern "C" __global__ void __launch_bounds__(TILE *ROWS_AT_ONCE) modules_back_layers(ModulesArgs a) {
    __shared__ Tile d, x;
    const int n_tiles = (a.n + TILE - 1) / TILE;
    const int output = blockIdx.y / n_tiles * TILE, input = blockIdx.y % n_tiles * TILE;
    const Layer layer = layer_of(a, blockIdx.x);
    float sum[OF_THREAD] = {};
    double of_bias[OF_THREAD] = {};
    for (int row = layer.first; row < layer.last; row += TILE) {
        __syncthreads();
        fill(d, row, layer.last, output, a.n, [&](size_t i) { return a.slope[i] * a.d_out[i]; });
        fill(x, row, layer.last, input, a.n, [&](size_t i) { return a.x[i]; });
        __syncthreads();
        for (int i = 0; i < TILE; i++)
            for (int r = 0; r < OF_THREAD; r++) {
                const float d_g = d[i][threadIdx.y + r * ROWS_AT_ONCE];
                sum[r] += d_g * x[i][threadIdx.x];
                of_bias[r] += d_g;
            }
    }
    for (int r = 0; r < OF_THREAD; r++) {
        const int j = output + threadIdx.y + r * ROWS_AT_ONCE, k = input + threadIdx.x;
        if (j >= a.n || k >= a.n) continue;
        a.d_weights[((size_t)blockIdx.x * a.n + j) * a.n + k] = sum[r];
        if (k == 0) a.d_bias[(size_t)blockIdx.x * a.n + j] = (float)of_bias[r];
    }
}
