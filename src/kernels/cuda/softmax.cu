// The softmax over genes of logits, genes x cells. Genes are taken in parts; what the parts found is put together in
// their order.
#include "common.cuh"

#define GENES_OF_PART 64

struct LogSumArgs {
    const float *logits;
    Bias bias; // not added where its values are null
    Rows rows;
    int n_genes;
    int n_parts;
    float *highest; // parts x cells
    float *sum_exp; // parts x cells
    const float *log_library; // null: the shift is left out
    float *negative_log_sum;  // of each cell
    double *shift;            // log library minus log sum
};

extern "C" __global__ void log_sum_of_parts(LogSumArgs a) {
    const int cell = blockIdx.x * blockDim.x + threadIdx.x, part = blockIdx.y;
    if (cell >= a.rows.n) return;
    const int to = min((part + 1) * GENES_OF_PART, a.n_genes);
    float highest = -3e38f, sum = 0.0f;
    for (int gene = part * GENES_OF_PART; gene < to; gene++) {
        float x = a.logits[(size_t)gene * a.rows.n + cell];
        if (a.bias.values) x += bias_of(a.bias, a.rows, cell, gene);
        const float higher = fmaxf(highest, x);
        sum = sum * expf(highest - higher) + expf(x - higher);
        highest = higher;
    }
    a.highest[(size_t)part * a.rows.n + cell] = highest;
    a.sum_exp[(size_t)part * a.rows.n + cell] = sum;
}

// A warp for each cell.
extern "C" __global__ void log_sum(LogSumArgs a) {
    const int cell = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    if (cell >= a.rows.n) return;
    float highest = -3e38f;
    for (int part = lane; part < a.n_parts; part += LANES)
        highest = fmaxf(highest, a.highest[(size_t)part * a.rows.n + cell]);
    highest = warp_max(highest);
    double sum = 0.0;
    for (int part = lane; part < a.n_parts; part += LANES) {
        const size_t at = (size_t)part * a.rows.n + cell;
        sum += (double)a.sum_exp[at] * exp((double)a.highest[at] - highest);
    }
    sum = warp_sum(sum);
    if (lane != 0) return;
    const double log_sum = highest + log(sum);
    a.negative_log_sum[cell] = (float)-log_sum;
    if (a.shift) a.shift[cell] = a.log_library[cell] - log_sum;
}

struct SharesArgs {
    const float *logits;
    const float *negative_log_sum;
    const float *center; // one per gene, or null: then the shares themselves are asked for
    float factor;
    int n_genes;
    int n_cells;
    float *out;
};

// The shares, or ln(1 + factor * share) - center.
extern "C" __global__ void shares(SharesArgs a) {
    const int cell = blockIdx.x * blockDim.x + threadIdx.x;
    if (cell >= a.n_cells) return;
    for (int gene = blockIdx.y; gene < a.n_genes; gene += gridDim.y) {
        const size_t at = (size_t)gene * a.n_cells + cell;
        const float share = expf(a.logits[at] + a.negative_log_sum[cell]);
        a.out[at] = a.center ? log1pf(a.factor * share) - a.center[gene] : share;
    }
}

struct AddBiasArgs {
    const float *logits;
    Bias bias;
    Rows rows;
    int n_genes;
    float *out;
};

extern "C" __global__ void add_bias(AddBiasArgs a) {
    const int cell = blockIdx.x * blockDim.x + threadIdx.x;
    if (cell >= a.rows.n) return;
    for (int gene = blockIdx.y; gene < a.n_genes; gene += gridDim.y) {
        const size_t at = (size_t)gene * a.rows.n + cell;
        a.out[at] = a.logits[at] + bias_of(a.bias, a.rows, cell, gene);
    }
}
