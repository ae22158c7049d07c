// The products of the heads by their connections alone, of one head or of both, which have the same connections: the
// other way beside products of dense matrices (src/backend/cuda/heads.rs says when). Of a product of a dense matrix four
// fifths would be zeros; here what a tile of cells needs lies in shared memory, from where a warp takes what its
// connections ask for.
#include "common.cuh"

#define WARPS 8
// Genes, or hidden units, that a warp sums for; and a block.
#define OF_WARP 4
#define OF_BLOCK (WARPS * OF_WARP)
// Cells of a tile here: what a lane has of them.
#define TILE 64
#define CELLS_OF_LANE (TILE / LANES)
// Rows of a tile that lie in shared memory at a time: hidden units, or genes of all heads.
#define ROWS 128

struct SparseHeadsArgs {
    // By gene: hidden units of its connections, increasing, and their slots.
    const u32 *offsets;
    const u16 *hidden;
    const u32 *slots;
    // By hidden unit: genes of its connections, increasing, and their slots.
    const u32 *unit_offsets;
    const u32 *genes;
    const u32 *unit_slots;
    int n_genes;
    int n_hidden;
    int n_cells;     // of the mini-batch
    int first, last; // cells that use these connections
    int genes_of_part;
    int adds; // to what other masks left
    size_t n_slots;
    const float *weights[2]; // of each head; null where there is none
    const float *x;          // the last hidden layer, cells x hidden units
    float *logits;           // genes x cells, one head below the other; or their gradients
    float *d_weights[2];     // of each head
    float *weight_parts;     // tiles x heads x slots
    float *d_x_parts;        // parts x cells x hidden units
};

// One row more than fits a bank, so that rows can be written one value each.
typedef float Tile[ROWS][TILE + 1];

// What a connection needs: a row of the tile, and the weights of the heads.
template <int HEADS> struct Connection {
    float weights[HEADS];
    int row;
};

// Fills a tile with hidden units from `unit` on; zeros where they or the cells end. All threads come here.
__device__ inline void fill_with_units(const SparseHeadsArgs &a, Tile &tile, int first, int unit) {
    for (int i = threadIdx.x; i < ROWS * TILE; i += blockDim.x) {
        const int row = i % ROWS, cell = i / ROWS;
        const bool there = unit + row < a.n_hidden && first + cell < a.last;
        tile[row][cell] = there ? a.x[(size_t)(first + cell) * a.n_hidden + unit + row] : 0.0f;
    }
}

// Logits of the genes: a block for a tile of cells and some genes.
template <int HEADS> __device__ inline void logits(const SparseHeadsArgs &a) {
    __shared__ Tile tile;
    __shared__ Connection<HEADS> connections[WARPS][LANES];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int first = a.first + blockIdx.x * TILE, from = blockIdx.y * OF_BLOCK + warp * OF_WARP;
    Connection<HEADS> *own = connections[warp];
    float sum[OF_WARP][HEADS][CELLS_OF_LANE] = {};
    u32 next[OF_WARP];
    for (int k = 0; k < OF_WARP; k++) next[k] = a.offsets[min(from + k, a.n_genes)];
    for (int unit = 0; unit < a.n_hidden; unit += ROWS) {
        __syncthreads();
        fill_with_units(a, tile, first, unit);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < OF_WARP; k++) {
            const u32 end = a.offsets[min(from + k + 1, a.n_genes)];
            // Units increase: those of this tile come first.
            for (int n = LANES; n == LANES && next[k] < end; next[k] += n) {
                const u32 i = next[k] + lane;
                const bool here = i < end && a.hidden[i] < unit + ROWS;
                if (here) {
                    own[lane].row = a.hidden[i] - unit;
                    for (int h = 0; h < HEADS; h++) own[lane].weights[h] = a.weights[h][a.slots[i]];
                }
                n = __popc(__ballot_sync(ALL_LANES, here));
                __syncwarp();
                for (int c = 0; c < n; c++) {
                    const Connection<HEADS> one = own[c];
                    for (int j = 0; j < CELLS_OF_LANE; j++) {
                        const float x = tile[one.row][lane + j * LANES];
                        for (int h = 0; h < HEADS; h++) sum[k][h][j] += one.weights[h] * x;
                    }
                }
                __syncwarp();
            }
        }
    }
#pragma unroll
    for (int k = 0; k < OF_WARP; k++)
        for (int h = 0; h < HEADS; h++)
            for (int j = 0; j < CELLS_OF_LANE; j++) {
                const int gene = from + k, cell = first + lane + j * LANES;
                if (gene < a.n_genes && cell < a.last)
                    a.logits[((size_t)h * a.n_genes + gene) * a.n_cells + cell] = sum[k][h][j];
            }
}

// Adds up what each lane has of LANES sums; lane i is left with the i-th.
__device__ inline float sums_of_lanes(float (&x)[LANES], int lane) {
#pragma unroll
    for (int d = LANES / 2; d > 0; d >>= 1) {
#pragma unroll
        for (int i = 0; i < d; i++) {
            const bool upper = lane & d;
            const float given = upper ? x[i] : x[i + d], kept = upper ? x[i + d] : x[i];
            x[i] = kept + __shfl_xor_sync(ALL_LANES, given, d);
        }
    }
    return x[0];
}

// What a tile of cells adds to the gradients of the weights.
template <int HEADS> __device__ inline void back_weights(const SparseHeadsArgs &a) {
    __shared__ Tile tile;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int first = a.first + blockIdx.x * TILE, from = blockIdx.y * OF_BLOCK + warp * OF_WARP;
    float *parts = a.weight_parts + (size_t)blockIdx.x * HEADS * a.n_slots;
    u32 next[OF_WARP];
    for (int k = 0; k < OF_WARP; k++) next[k] = a.offsets[min(from + k, a.n_genes)];
    for (int unit = 0; unit < a.n_hidden; unit += ROWS) {
        __syncthreads();
        fill_with_units(a, tile, first, unit);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < OF_WARP; k++) {
            const u32 end = a.offsets[min(from + k + 1, a.n_genes)];
            float d[HEADS][CELLS_OF_LANE];
            for (int h = 0; h < HEADS; h++)
                for (int j = 0; j < CELLS_OF_LANE; j++) {
                    const int gene = from + k, cell = first + lane + j * LANES;
                    const bool there = gene < a.n_genes && cell < a.last;
                    d[h][j] = there ? a.logits[((size_t)h * a.n_genes + gene) * a.n_cells + cell] : 0.0f;
                }
            for (int n = LANES; n == LANES && next[k] < end; next[k] += n) {
                const u32 i = next[k] + lane;
                const bool here = i < end && a.hidden[i] < unit + ROWS;
                // A lane without a connection sums for a row that nobody asks about.
                const int row = here ? a.hidden[i] - unit : 0;
                n = __popc(__ballot_sync(ALL_LANES, here));
                float sum[HEADS][LANES];
#pragma unroll
                for (int c = 0; c < LANES; c++) {
                    const int of_c = __shfl_sync(ALL_LANES, row, c);
                    for (int h = 0; h < HEADS; h++) sum[h][c] = 0.0f;
                    for (int j = 0; j < CELLS_OF_LANE; j++) {
                        const float x = tile[of_c][lane + j * LANES];
                        for (int h = 0; h < HEADS; h++) sum[h][c] += d[h][j] * x;
                    }
                }
                for (int h = 0; h < HEADS; h++) {
                    const float own = sums_of_lanes(sum[h], lane);
                    if (here) parts[h * a.n_slots + a.slots[i]] = own;
                }
            }
        }
    }
}

// What some genes add to the gradient of the last hidden layer: a block for a tile of cells, some hidden units and a part of
// the genes.
template <int HEADS> __device__ inline void back_hidden(const SparseHeadsArgs &a) {
    const int GENES = ROWS / HEADS;
    __shared__ Tile tile;
    __shared__ Connection<HEADS> connections[WARPS][LANES];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int first = a.first + blockIdx.x * TILE, from = blockIdx.y * OF_BLOCK + warp * OF_WARP;
    const int from_gene = blockIdx.z * a.genes_of_part, to_gene = min(from_gene + a.genes_of_part, a.n_genes);
    Connection<HEADS> *own = connections[warp];
    float sum[OF_WARP][CELLS_OF_LANE] = {};
    u32 next[OF_WARP];
    for (int k = 0; k < OF_WARP; k++) {
        // The first connection of this part: by bisection.
        u32 below = a.unit_offsets[min(from + k, a.n_hidden)], above = a.unit_offsets[min(from + k + 1, a.n_hidden)];
        while (below < above) {
            const u32 middle = (below + above) / 2;
            if (a.genes[middle] < from_gene) below = middle + 1;
            else above = middle;
        }
        next[k] = below;
    }
    for (int gene = from_gene; gene < to_gene; gene += GENES) {
        const int behind = min(gene + GENES, to_gene);
        __syncthreads();
        for (int i = threadIdx.x; i < ROWS * TILE; i += blockDim.x) {
            const int row = i / TILE, cell = i % TILE, of_head = gene + row % GENES;
            const bool there = of_head < behind && first + cell < a.last;
            const size_t at = ((size_t)(row / GENES) * a.n_genes + of_head) * a.n_cells + first + cell;
            tile[row][cell] = there ? a.logits[at] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < OF_WARP; k++) {
            const u32 end = a.unit_offsets[min(from + k + 1, a.n_hidden)];
            for (int n = LANES; n == LANES && next[k] < end; next[k] += n) {
                const u32 i = next[k] + lane;
                const bool here = i < end && a.genes[i] < behind;
                if (here) {
                    own[lane].row = a.genes[i] - gene;
                    for (int h = 0; h < HEADS; h++) own[lane].weights[h] = a.weights[h][a.unit_slots[i]];
                }
                n = __popc(__ballot_sync(ALL_LANES, here));
                __syncwarp();
                for (int c = 0; c < n; c++) {
                    const Connection<HEADS> one = own[c];
                    for (int j = 0; j < CELLS_OF_LANE; j++)
                        for (int h = 0; h < HEADS; h++)
                            sum[k][j] += one.weights[h] * tile[h * GENES + one.row][lane + j * LANES];
                }
                __syncwarp();
            }
        }
    }
    float *parts = a.d_x_parts + (size_t)blockIdx.z * a.n_cells * a.n_hidden;
#pragma unroll
    for (int k = 0; k < OF_WARP; k++)
        for (int j = 0; j < CELLS_OF_LANE; j++) {
            const int unit = from + k, cell = first + lane + j * LANES;
            if (unit < a.n_hidden && cell < a.last) parts[(size_t)cell * a.n_hidden + unit] = sum[k][j];
        }
}

#define HEADS(NAME, OF)                                                                                                \
    extern "C" __global__ void __launch_bounds__(WARPS *LANES, 2) NAME##_of_1(SparseHeadsArgs a) { OF<1>(a); }             \
    extern "C" __global__ void __launch_bounds__(WARPS *LANES, 2) NAME##_of_2(SparseHeadsArgs a) { OF<2>(a); }
HEADS(sparse_logits, logits)
HEADS(sparse_back_weights, back_weights)
HEADS(sparse_back_hidden, back_hidden)

// The gradients of the weights, of all tiles: a thread for each connection of a head.
extern "C" __global__ void sparse_sum_weights(SparseHeadsArgs a) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.offsets[a.n_genes]) return;
    const u32 slot = a.slots[i];
    const int n_heads = gridDim.y, n_tiles = (a.last - a.first + TILE - 1) / TILE;
    float *d_weights = blockIdx.y == 0 ? a.d_weights[0] : a.d_weights[1];
    double sum = a.adds ? d_weights[slot] : 0.0f;
    for (int tile = 0; tile < n_tiles; tile++) sum += a.weight_parts[((size_t)tile * n_heads + blockIdx.y) * a.n_slots + slot];
    d_weights[slot] = (float)sum;
}
