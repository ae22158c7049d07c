// The encoder's sparsely connected layer: bias + ln(1 + depth * counts) times the masked dense weights, and the way back to
// the weights.
#include "minibatch.cuh"

// Hidden units worked on at a time, and groups of threads that share a cell's counts.
#define UNITS 128
#define GROUPS 4
#define WARPS 8

struct EncodeArgs {
    Cells cells;
    int first; // cell of this launch
    int n_hidden;
    const float *dense; // genes x hidden units
    const float *bias;
    float *out; // cells x hidden units
};

struct Shared {
    float input[UNITS * GROUPS];
    u32 gene[UNITS * GROUPS];
    float sum[GROUPS][UNITS];
};

template <class Gene, class Count> __device__ inline void encode(const EncodeArgs &a, Shared &shared) {
    const int cell = a.first + blockIdx.x, group = threadIdx.y, of_tile = UNITS * GROUPS;
    const int thread = group * UNITS + threadIdx.x;
    const u32 row = a.cells.rows[cell];
    const float depth = depth_of(a.cells, cell);
    const u64 to = a.cells.offsets[row + 1];
    for (int unit = threadIdx.x; unit - (int)threadIdx.x < a.n_hidden; unit += UNITS) {
        float sum = 0.0f;
        for (u64 from = a.cells.offsets[row]; from < to; from += of_tile) {
            __syncthreads();
            if (from + thread < to) {
                shared.gene[thread] = ((const Gene *)a.cells.genes)[from + thread];
                shared.input[thread] = log1pf(depth * (float)((const Count *)a.cells.counts)[from + thread]);
            }
            __syncthreads();
            const int n = to - from < of_tile ? (int)(to - from) : of_tile;
            if (unit >= a.n_hidden) continue;
#pragma unroll 8
            for (int k = group; k < n; k += GROUPS)
                sum = fmaf(shared.input[k], a.dense[(size_t)shared.gene[k] * a.n_hidden + unit], sum);
        }
        shared.sum[group][threadIdx.x] = sum;
        __syncthreads();
        if (group == 0 && unit < a.n_hidden) {
            sum = a.bias[unit];
            for (int k = 0; k < GROUPS; k++) sum += shared.sum[k][threadIdx.x];
            a.out[(size_t)cell * a.n_hidden + unit] = sum;
        }
    }
}

#define ENCODE(FORM, GENE, COUNT)                                                                                      \
    extern "C" __global__ void __launch_bounds__(UNITS *GROUPS) encode_##FORM(EncodeArgs a) {                          \
        __shared__ Shared shared;                                                                                      \
        encode<GENE, COUNT>(a, shared);                                                                                \
    }
FOR_ALL_FORMS(ENCODE)

struct EncodeBackArgs {
    const u32 *offsets; // the mask's connections, by gene
    const u16 *hidden;
    const u32 *slots;
    int n_genes;
    int n_hidden;
    int n_cells; // of the table
    int first, last; // cells of this launch
    const float *table;
    const float *depth; // a factor for each cell, or null
    const float *d_out; // cells x hidden units
    int adds; // to what other masks left
    float *d_weights;
};

struct OfGene {
    float input[CELLS];
    int cell[CELLS];
    float sum[UNITS];
};

// A warp for each gene, each lane with four of the hidden units at a time.
extern "C" __global__ void __launch_bounds__(WARPS *LANES) encode_back(EncodeBackArgs a) {
    __shared__ OfGene all[WARPS];
    const int lane = threadIdx.x % LANES, gene = blockIdx.x * WARPS + threadIdx.x / LANES;
    OfGene &own = all[threadIdx.x / LANES];
    if (gene >= a.n_genes) return;
    const float *counts = a.table + (size_t)gene * a.n_cells;
    for (int unit = 0; unit < a.n_hidden; unit += UNITS) {
        float sum[OF_LANE] = {};
        for (int first = a.first; first < a.last; first += CELLS) {
            int n = 0;
            for (int j = 0; j < OF_LANE; j++) {
                const int cell = first + lane + j * LANES;
                const float count = cell < a.last ? counts[cell] : 0.0f;
                const u32 above = __ballot_sync(ALL_LANES, count > 0.0f);
                if (count > 0.0f) {
                    const int at = n + __popc(above & ((1u << lane) - 1u));
                    own.cell[at] = cell;
                    own.input[at] = log1pf(count * (a.depth ? a.depth[cell] : 1.0f));
                }
                n += __popc(above);
            }
            __syncwarp();
            for (int k = 0; k < n; k++) {
                const float *d = a.d_out + (size_t)own.cell[k] * a.n_hidden + unit;
                for (int j = 0; j < OF_LANE; j++)
                    if (unit + lane + j * LANES < a.n_hidden) sum[j] = fmaf(own.input[k], d[lane + j * LANES], sum[j]);
            }
            __syncwarp();
        }
        for (int j = 0; j < OF_LANE; j++) own.sum[lane + j * LANES] = sum[j];
        __syncwarp();
        for (u32 i = a.offsets[gene] + lane; i < a.offsets[gene + 1]; i += LANES) {
            const int of_unit = (int)a.hidden[i] - unit;
            if (of_unit < 0 || of_unit >= UNITS) continue;
            float *d = a.d_weights + a.slots[i];
            *d = (a.adds ? *d : 0.0f) + own.sum[of_unit];
        }
        __syncwarp();
    }
}
