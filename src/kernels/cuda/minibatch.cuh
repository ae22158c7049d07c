// The cells of a mini-batch among counts that lie on the card, compressed by cell.
#pragma once
#include "common.cuh"

struct Cells {
    const u64 *offsets;
    const void *genes;    // u16 or u32
    const void *counts;   // u8, u16 or float
    const float *library; // logarithms of the cells' totals
    const u32 *rows;      // which cells
    const float *depth;   // a factor for each, or null
};

__device__ inline float depth_of(const Cells &cells, int cell) { return cells.depth ? cells.depth[cell] : 1.0f; }

// Declares a kernel for each form of genes and counts.
#define FOR_ALL_FORMS(DECLARE)                                                                                         \
    DECLARE(u16_u8, u16, u8)                                                                                           \
    DECLARE(u16_u16, u16, u16)                                                                                         \
    DECLARE(u16_f32, u16, float)                                                                                       \
    DECLARE(u32_u8, u32, u8)                                                                                           \
    DECLARE(u32_u16, u32, u16)                                                                                         \
    DECLARE(u32_f32, u32, float)
