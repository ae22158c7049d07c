// What all kernels share. Every kernel takes one struct, whose twin stands in src/backend/cuda/arguments.rs. Nothing is
// added up by atomics: each sum is a fixed tree, so that the same card gives the same bits at every run.
#pragma once
#ifdef SCVAE_CUDA_ON_CPU
#include "cuda_on_cpu.h"
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define LANES 32
#define ALL_LANES 0xffffffffu
// Cells of a tile: what a warp works on at a time, each lane on CELLS / LANES of them.
#define CELLS 128
#define OF_LANE (CELLS / LANES)

template <class T> __device__ inline T warp_sum(T x) {
    for (int d = LANES / 2; d > 0; d >>= 1) x += __shfl_xor_sync(ALL_LANES, x, d);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int d = LANES / 2; d > 0; d >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, d));
    return x;
}

// Which rows of a mini-batch belong together. A segment holds the cells of one batch; a piece is what a tile holds of a
// segment, and the pieces of a segment follow one another.
struct Rows {
    int n;
    int n_segments;
    int n_pieces;
    const u32 *segment;       // of each row
    const u32 *first_piece;   // of each tile
    const u32 *pieces;        // of each segment: where its pieces start; one more at the end
};

// Writes the sum of a gene's values over each piece of a tile; `value` has those of this lane's cells, zero beyond the
// last cell. `out` has one row of `n_genes` values for every piece.
__device__ inline void sum_by_piece(const Rows &rows, int tile, int lane, const float (&value)[OF_LANE], float *out,
                                    size_t n_genes) {
    const int first = tile * CELLS, last = min(first + CELLS, rows.n) - 1;
    const u32 from = rows.segment[first], to = rows.segment[last];
    const u32 piece = rows.first_piece[tile];
    for (u32 s = from; s <= to; s++) {
        float sum = 0.0f;
        for (int j = 0; j < OF_LANE; j++) {
            const int cell = first + lane + j * LANES;
            if (cell <= last && (from == to || rows.segment[cell] == s)) sum += value[j];
        }
        sum = warp_sum(sum);
        if (lane == 0) out[(piece + s - from) * n_genes] = sum;
    }
}

// A head's bias: one per gene, or segments x genes.
struct Bias {
    const float *values;
    size_t by_segment; // the number of genes, or zero
};

__device__ inline float bias_of(const Bias &bias, const Rows &rows, int cell, int gene) {
    return bias.values[(bias.by_segment ? rows.segment[cell] * bias.by_segment : 0) + gene];
}
