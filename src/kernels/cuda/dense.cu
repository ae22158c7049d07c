// What fully connected layers need beside the products: biases and their gradients; and what is taken off by segment.
#include "common.cuh"

#define COLUMNS 32
#define ROWS_AT_ONCE 32

struct DenseArgs {
    const float *x;       // what passes by, rows x columns
    const float *product; // rows x columns
    const float *bias;    // one per column; or segments x columns
    const u32 *segment;   // of each row
    int n_rows;
    int n_columns;
    const float *d_out;
    float *out;
};

extern "C" __global__ void add_row(DenseArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.n_rows * a.n_columns) a.out[i] = a.product[i] + a.bias[i % a.n_columns];
}

// The sum of each column, in double precision.
extern "C" __global__ void __launch_bounds__(COLUMNS *ROWS_AT_ONCE) column_sums(DenseArgs a) {
    __shared__ double all[ROWS_AT_ONCE][COLUMNS];
    const int at = threadIdx.x % COLUMNS, first = threadIdx.x / COLUMNS, column = blockIdx.x * COLUMNS + at;
    double sum = 0.0;
    for (int row = first; column < a.n_columns && row < a.n_rows; row += ROWS_AT_ONCE)
        sum += a.product[(size_t)row * a.n_columns + column];
    all[first][at] = sum;
    __syncthreads();
    if (first != 0 || column >= a.n_columns) return;
    sum = 0.0;
    for (int k = 0; k < ROWS_AT_ONCE; k++) sum += all[k][at];
    a.out[column] = (float)sum;
}

// x minus the row of each cell's segment in `bias`.
extern "C" __global__ void take_off(DenseArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.n_rows * a.n_columns) return;
    a.out[i] = a.x[i] - a.bias[(size_t)a.segment[i / a.n_columns] * a.n_columns + i % a.n_columns];
}

// Minus the sum of each segment's rows of `d_out`: the rows of a segment lie side by side. A block for each segment.
extern "C" __global__ void take_off_back(DenseArgs a) {
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= a.n_columns) return;
    double sum = 0.0;
    for (int row = 0; row < a.n_rows; row++)
        if (a.segment[row] == blockIdx.x) sum += a.d_out[(size_t)row * a.n_columns + column];
    a.out[(size_t)blockIdx.x * a.n_columns + column] = (float)-sum;
}
