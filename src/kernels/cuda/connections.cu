// Between the compact weights, one per connection, and masked dense matrices, genes x hidden units. A warp for each gene. A
// matrix may have more rows than there are genes, so that products can be cut into equal parts; the rows beyond are zero.
#include "common.cuh"

#define WARPS 8

struct ConnectionsArgs {
    const u32 *offsets; // of the genes, into the two lists below
    const u16 *hidden;
    const u32 *slots;
    int n_genes;
    int n_rows; // of a head
    int n_hidden;
    float *dense;      // of one head or two, of which the second comes below the first
    float *weights[2]; // of each
    int adds;          // to what other masks left
};

extern "C" __global__ void expand(ConnectionsArgs a) {
    const int lane = threadIdx.x % LANES, gene = blockIdx.x * WARPS + threadIdx.x / LANES;
    if (gene >= a.n_rows) return;
    float *row = a.dense + ((size_t)blockIdx.y * a.n_rows + gene) * a.n_hidden;
    for (int unit = lane; unit < a.n_hidden; unit += LANES) row[unit] = 0.0f;
    __syncwarp();
    if (gene >= a.n_genes) return;
    const float *weights = blockIdx.y == 0 ? a.weights[0] : a.weights[1];
    for (u32 i = a.offsets[gene] + lane; i < a.offsets[gene + 1]; i += LANES) row[a.hidden[i]] = weights[a.slots[i]];
}

extern "C" __global__ void collect(ConnectionsArgs a) {
    const int lane = threadIdx.x % LANES, gene = blockIdx.x * WARPS + threadIdx.x / LANES;
    if (gene >= a.n_genes) return;
    const float *row = a.dense + ((size_t)blockIdx.y * a.n_rows + gene) * a.n_hidden;
    float *weights = blockIdx.y == 0 ? a.weights[0] : a.weights[1];
    for (u32 i = a.offsets[gene] + lane; i < a.offsets[gene + 1]; i += LANES) {
        float *weight = weights + a.slots[i];
        *weight = (a.adds ? *weight : 0.0f) + row[a.hidden[i]];
    }
}
