// Sums whose parts were formed apart, in the order of the parts.
#include "common.cuh"

struct SumPartsArgs {
    const float *parts; // parts x values
    int n_parts;
    int n_values;
    float *out;
};

extern "C" __global__ void sum_parts(SumPartsArgs a) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.n_values) return;
    float sum = 0.0f;
    for (int k = 0; k < a.n_parts; k++) sum += a.parts[(size_t)k * a.n_values + i];
    a.out[i] = sum;
}

struct AddGeneSumsArgs {
    double *sums;     // masks x statistics x genes
    const float *added; // statistics x segments x genes
    const u32 *places; // the mask of each segment, then its batch
    const double *log_shares; // batches x genes, or null
    int n_statistics, n_segments, n_genes;
    int counts, of_statistic; // among the statistics
};

// Adds the segments' sums to those of their masks, one after the other; from one of the statistics is taken off what the
// batch's own shares explain of it.
extern "C" __global__ void add_gene_sums(AddGeneSumsArgs a) {
    const int gene = blockIdx.x * blockDim.x + threadIdx.x, statistic = blockIdx.y;
    if (gene >= a.n_genes) return;
    for (int s = 0; s < a.n_segments; s++) {
        const auto added = [&](int k) { return (double)a.added[((size_t)k * a.n_segments + s) * a.n_genes + gene]; };
        double x = added(statistic);
        if (a.log_shares && statistic == a.of_statistic)
            x -= added(a.counts) * a.log_shares[(size_t)a.places[a.n_segments + s] * a.n_genes + gene];
        a.sums[((size_t)a.places[s] * a.n_statistics + statistic) * a.n_genes + gene] += x;
    }
}
