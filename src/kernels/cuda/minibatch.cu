// A mini-batch's counts as a table, genes x cells, which is zero before.
#include "minibatch.cuh"

struct GatherArgs {
    Cells cells;
    int n_cells;
    float *table;
    float *log_library;
};

template <class Gene, class Count> __device__ inline void gather(const GatherArgs &a) {
    const int cell = blockIdx.x;
    const u32 row = a.cells.rows[cell];
    for (u64 i = a.cells.offsets[row] + threadIdx.x; i < a.cells.offsets[row + 1]; i += blockDim.x)
        a.table[(size_t)((const Gene *)a.cells.genes)[i] * a.n_cells + cell] = (float)((const Count *)a.cells.counts)[i];
    if (threadIdx.x == 0) a.log_library[cell] = a.cells.library[row];
}

#define GATHER(FORM, GENE, COUNT)                                                                                      \
    extern "C" __global__ void gather_##FORM(GatherArgs a) { gather<GENE, COUNT>(a); }
FOR_ALL_FORMS(GATHER)
