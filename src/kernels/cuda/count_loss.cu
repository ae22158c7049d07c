// The count loss, given the logits of both heads, genes x cells, and the way back to them: kernels/decode_loss.rs says
// what is computed. A warp works on some genes' cells of a tile. First their counts above zero are gathered, so that
// the lanes share them; then every lane takes its cells, as if they held zeros, and puts the others in their places.
#include "distributions.cuh"

#define WARPS 8
// Genes of a warp, and of a block.
#define OF_WARP 4
#define GENES (WARPS * OF_WARP)
// Counts above zero that a warp keeps: there is room for a gene's in a tile at least.
#define MOST_FOUND 256
#define MOST_STATISTICS 9
#define LOG_THETA_LIMIT 60.0

// In the order of the enum GeneStatistic.
enum Statistic {
    SQUARED_ERROR, LOG_SQUARED_ERROR, EXPECTED, SQUARED_EXPECTED, COUNT, LOG_SHARE, RATE, SHARE, SHARE_VARIATION
};

struct LossArgs {
    float *logits;  // of both heads, one below the other; their gradients take their place
    float *d_means; // gradient of the logarithms of the means, genes x cells
    Bias scale_bias, dropout_bias;
    Rows rows;
    int n_genes;
    int n_padded; // rows of a head
    const float *log_theta;
    const float *counts; // genes x cells
    const float *log_library;
    const float *negative_log_sum;
    const double *shift;
    float per_cell; // from a log-probability to its part of the loss
    int n_statistics;
    int statistics[MOST_STATISTICS];
    // What blocks and tiles find, to be added up later.
    double *values;        // a log-probability for each block
    float *d_log_mu;       // blocks of genes x cells
    float *d_log_mu_sum;   // cells
    float *d_log_theta;    // tiles x genes
    float *d_bias[2];      // pieces x genes, of each head
    float *sums;           // statistics x pieces x genes
    // What comes out.
    float *loss;
    float *out_log_theta;
    float *out_bias[2];
    float *out_sums; // statistics x segments x genes
};

// Counts above zero of some of a warp's genes, and what was worked out of them.
struct Found {
    float d_log_mu[MOST_FOUND], d_dropout[MOST_FOUND], d_log_theta[MOST_FOUND], expected[MOST_FOUND];
    u16 places[MOST_FOUND]; // the gene among the warp's, times CELLS, plus the cell of the tile
    Dispersion genes[OF_WARP];
};

struct Shared {
    Found found[WARPS];
    float d_log_mu[WARPS][CELLS];
    double values[WARPS];
};

// The cells of a lane: cell `first + i(j)` of the mini-batch.
struct OfCells {
    float shift[OF_LANE], negative_log_sum[OF_LANE];
};

template <Likelihood KIND, bool GRADIENTS> __device__ inline void score(const LossArgs &a, Shared &shared) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int tile = blockIdx.x, first = tile * CELLS, n = a.rows.n;
    const int from = blockIdx.y * GENES + warp * OF_WARP, to = min(from + OF_WARP, a.n_genes);
    Found &found = shared.found[warp];
    const auto row_of = [&](int gene) { return a.logits + (size_t)gene * n + first; };
    const auto log_mu_of = [&](int gene, int i) { return row_of(gene)[i] + bias_of(a.scale_bias, a.rows, first + i, gene); };
    const auto dropout_of = [&](int gene, int i) {
        return KIND == ZINB ? row_of(a.n_padded + gene)[i] + bias_of(a.dropout_bias, a.rows, first + i, gene) : 0.0f;
    };
    if (KIND != POISSON && from + lane < to) {
        Dispersion own;
        own.log_theta = fmin(fmax((double)a.log_theta[from + lane], -LOG_THETA_LIMIT), LOG_THETA_LIMIT);
        own.theta = exp(own.log_theta);
        found.genes[lane] = own;
    }
    OfCells cells;
    for (int j = 0; j < OF_LANE; j++) {
        const int cell = first + lane + j * LANES;
        cells.shift[j] = cell < n ? (float)a.shift[cell] : 0.0f;
        cells.negative_log_sum[j] = cell < n ? a.negative_log_sum[cell] : 0.0f;
    }
    double value = 0.0;
    float d_log_mu_sum[OF_LANE] = {};
    for (int start = from; start < to;) {
        // As many genes as there is room for their counts above zero.
        int n_found = 0, end = start;
        for (; end < to && n_found + CELLS <= MOST_FOUND; end++) {
            const float *counts = a.counts + (size_t)end * n + first;
            for (int j = 0; j < OF_LANE; j++) {
                const int i = lane + j * LANES;
                const bool above = first + i < n && counts[i] > 0.0f;
                const u32 lanes = __ballot_sync(ALL_LANES, above);
                if (above) found.places[n_found + __popc(lanes & ((1u << lane) - 1u))] = (u16)((end - from) * CELLS + i);
                n_found += __popc(lanes);
            }
        }
        __syncwarp();
        for (int k = lane; k < n_found; k += LANES) {
            const int gene = from + found.places[k] / CELLS, i = found.places[k] % CELLS;
            const double log_mu = (double)log_mu_of(gene, i) + a.shift[first + i];
            const float count = a.counts[(size_t)gene * n + first + i];
            const Entry e = positive<KIND>(count, log_mu, dropout_of(gene, i), found.genes[gene - from]);
            value += e.value;
            found.d_log_mu[k] = e.d_log_mu;
            found.d_dropout[k] = e.d_dropout;
            found.d_log_theta[k] = e.d_log_theta;
            found.expected[k] = e.expected;
        }
        __syncwarp();
        int before = 0;
        for (int gene = start; gene < end; gene++) {
            const float *counts = a.counts + (size_t)gene * n + first;
            const float theta = KIND == POISSON ? 1.0f : (float)found.genes[gene - from].theta;
            const float log_theta = KIND == POISSON ? 0.0f : (float)found.genes[gene - from].log_theta;
            float count[OF_LANE], expected[OF_LANE], d_dropout[OF_LANE], log_share[OF_LANE];
            float d_log_theta = 0.0f, of_zeros = 0.0f;
            Entry e[OF_LANE];
            int place[OF_LANE];
            // All cells as if they held zeros, side by side; nothing here depends on the branch taken.
#pragma unroll
            for (int j = 0; j < OF_LANE; j++) {
                const int i = min(lane + j * LANES, n - 1 - first);
                const bool exists = lane + j * LANES < n - first;
                count[j] = exists ? counts[i] : 0.0f;
                const u32 lanes = __ballot_sync(ALL_LANES, count[j] > 0.0f);
                place[j] = before + __popc(lanes & ((1u << lane) - 1u));
                before += __popc(lanes);
                const float logit = log_mu_of(gene, i);
                log_share[j] = logit + cells.negative_log_sum[j];
                e[j] = zero<KIND>(logit + cells.shift[j], dropout_of(gene, i), theta, log_theta);
            }
#pragma unroll
            for (int j = 0; j < OF_LANE; j++) {
                const int i = lane + j * LANES;
                expected[j] = d_dropout[j] = 0.0f;
                if (first + i >= n) continue;
                float d_log_mu = e[j].d_log_mu, d_theta = e[j].d_log_theta, of_cell = e[j].value;
                d_dropout[j] = e[j].d_dropout;
                expected[j] = e[j].expected;
                if (count[j] > 0.0f) {
                    const int k = place[j];
                    d_log_mu = found.d_log_mu[k];
                    d_dropout[j] = found.d_dropout[k];
                    d_theta = found.d_log_theta[k];
                    expected[j] = found.expected[k];
                    of_cell = 0.0f;
                }
                of_zeros += of_cell;
                d_log_theta += d_theta;
                if (!GRADIENTS) continue;
                d_log_mu *= a.per_cell;
                d_dropout[j] *= a.per_cell;
                d_log_mu_sum[j] += d_log_mu;
                a.d_means[(size_t)gene * n + first + i] = d_log_mu;
                if (KIND == ZINB) row_of(a.n_padded + gene)[i] = d_dropout[j];
            }
            value += of_zeros;
            if (!GRADIENTS) continue;
            if (KIND != POISSON) {
                d_log_theta = warp_sum(d_log_theta);
                if (lane == 0) a.d_log_theta[(size_t)tile * a.n_genes + gene] = a.per_cell * d_log_theta;
            }
            if (KIND == ZINB) sum_by_piece(a.rows, tile, lane, d_dropout, a.d_bias[1] + gene, a.n_genes);
            for (int k = 0; k < a.n_statistics; k++) {
                float of_cell[OF_LANE];
                const int statistic = a.statistics[k];
                if (statistic >= RATE) continue;
                for (int j = 0; j < OF_LANE; j++) {
                    const float x = count[j], mean = expected[j];
                    float apart = x - mean;
                    switch (statistic) {
                    case SQUARED_ERROR: of_cell[j] = apart * apart; break;
                    case LOG_SQUARED_ERROR:
                        apart = log1pf(x) - log1pf(mean);
                        of_cell[j] = apart * apart;
                        break;
                    case EXPECTED: of_cell[j] = mean; break;
                    case SQUARED_EXPECTED: of_cell[j] = mean * mean; break;
                    case COUNT: of_cell[j] = x; break;
                    default: of_cell[j] = x * log_share[j];
                    }
                }
                float *sums = a.sums + (size_t)k * a.rows.n_pieces * a.n_genes + gene;
                sum_by_piece(a.rows, tile, lane, of_cell, sums, a.n_genes);
            }
        }
        __syncwarp();
        start = end;
    }
    // The rows beyond the last gene take part in the products that follow.
    for (int gene = max(from, a.n_genes); GRADIENTS && gene < min(from + OF_WARP, a.n_padded); gene++) {
        for (int i = lane; i < CELLS && first + i < n; i += LANES) {
            row_of(gene)[i] = 0.0f;
            if (KIND == ZINB) row_of(a.n_padded + gene)[i] = 0.0f;
        }
    }
    value = warp_sum(value);
    if (lane == 0) shared.values[warp] = value;
    for (int j = 0; GRADIENTS && j < OF_LANE; j++) shared.d_log_mu[warp][lane + j * LANES] = d_log_mu_sum[j];
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int w = 0; w < WARPS; w++) sum += shared.values[w];
        a.values[(size_t)blockIdx.y * gridDim.x + tile] = sum;
    }
    const int i = threadIdx.x;
    if (!GRADIENTS || i >= CELLS || first + i >= n) return;
    float sum = 0.0f;
    for (int w = 0; w < WARPS; w++) sum += shared.d_log_mu[w][i];
    a.d_log_mu[(size_t)blockIdx.y * n + first + i] = sum;
}

#define SCORE(NAME, KIND, GRADIENTS)                                                                                   \
    extern "C" __global__ void __launch_bounds__(WARPS *LANES, 2) NAME(LossArgs a) {                                      \
        __shared__ Shared shared;                                                                                      \
        score<KIND, GRADIENTS>(a, shared);                                                                             \
    }
SCORE(score_zinb, ZINB, true)
SCORE(score_nb, NB, true)
SCORE(score_poisson, POISSON, true)
SCORE(value_zinb, ZINB, false)
SCORE(value_nb, NB, false)
SCORE(value_poisson, POISSON, false)

// Sums over genes of the gradients with respect to the logarithms of the means, a warp for each cell.
extern "C" __global__ void sum_over_genes(LossArgs a) {
    const int cell = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    if (cell >= a.rows.n) return;
    double sum = 0.0;
    const int n_blocks = (a.n_padded + GENES - 1) / GENES;
    for (int k = lane; k < n_blocks; k += LANES) sum += a.d_log_mu[(size_t)k * a.rows.n + cell];
    sum = warp_sum(sum);
    if (lane == 0) a.d_log_mu_sum[cell] = (float)sum;
}

// Through the softmax, from the logarithms of the means to the first head's logits; and what is asked for of the shares.
extern "C" __global__ void __launch_bounds__(WARPS *LANES, 4) through_softmax(LossArgs a) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int tile = blockIdx.x, first = tile * CELLS, n = a.rows.n;
    const int from = blockIdx.y * GENES, to = min(from + GENES, a.n_genes);
    for (int gene = from + warp; gene < to; gene += WARPS) {
        float *scale_row = a.logits + (size_t)gene * n + first;
        const float *d_log_mu_row = a.d_means + (size_t)gene * n + first;
        float share[OF_LANE], d[OF_LANE];
        for (int j = 0; j < OF_LANE; j++) {
            const int i = lane + j * LANES, cell = first + i;
            share[j] = d[j] = 0.0f;
            if (cell >= n) continue;
            share[j] = expf(scale_row[i] + bias_of(a.scale_bias, a.rows, cell, gene) + a.negative_log_sum[cell]);
            d[j] = d_log_mu_row[i] - share[j] * a.d_log_mu_sum[cell];
            scale_row[i] = d[j];
        }
        sum_by_piece(a.rows, tile, lane, d, a.d_bias[0] + gene, a.n_genes);
        for (int k = 0; k < a.n_statistics; k++) {
            const int statistic = a.statistics[k];
            if (statistic < RATE) continue;
            float of_cell[OF_LANE];
            for (int j = 0; j < OF_LANE; j++) {
                const int cell = first + lane + j * LANES;
                const float library = statistic == RATE && cell < n ? expf(a.log_library[cell]) : 1.0f;
                of_cell[j] = share[j] * (statistic == SHARE_VARIATION ? share[j] : library);
            }
            sum_by_piece(a.rows, tile, lane, of_cell, a.sums + (size_t)k * a.rows.n_pieces * a.n_genes + gene, a.n_genes);
        }
    }
}

// Adds up what tiles and pieces found, a thread for each gene.
__device__ inline double over_pieces(const Rows &rows, int segment, const float *of_gene, size_t n_genes) {
    double sum = 0.0;
    for (u32 piece = rows.pieces[segment]; piece < rows.pieces[segment + 1]; piece++) sum += of_gene[piece * n_genes];
    return sum;
}

extern "C" __global__ void finish_genes(LossArgs a) {
    const int gene = blockIdx.x * blockDim.x + threadIdx.x, n_segments = a.rows.n_segments;
    const size_t n_genes = a.n_genes;
    if (gene >= a.n_genes) return;
    if (a.log_theta) {
        const int n_tiles = (a.rows.n + CELLS - 1) / CELLS;
        double sum = 0.0;
        for (int tile = 0; tile < n_tiles; tile++) sum += a.d_log_theta[tile * n_genes + gene];
        a.out_log_theta[gene] = (float)sum;
    }
    const Bias *biases[2] = {&a.scale_bias, &a.dropout_bias};
    for (int head = 0; head < 2; head++) {
        if (!a.out_bias[head]) continue;
        double all = 0.0;
        for (int s = 0; s < n_segments; s++) {
            const double sum = over_pieces(a.rows, s, a.d_bias[head] + gene, n_genes);
            all += sum;
            if (biases[head]->by_segment) a.out_bias[head][s * n_genes + gene] = (float)sum;
        }
        if (!biases[head]->by_segment) a.out_bias[head][gene] = (float)all;
    }
    int shares = -1;
    for (int k = 0; k < a.n_statistics; k++)
        if (a.statistics[k] == SHARE) shares = k;
    for (int s = 0; s < n_segments; s++) {
        const size_t of_segment = a.rows.n_pieces * n_genes;
        const auto sum_of = [&](int k) { return over_pieces(a.rows, s, a.sums + k * of_segment + gene, n_genes); };
        for (int k = 0; k < a.n_statistics; k++) {
            double sum = sum_of(k);
            if (a.statistics[k] == SHARE_VARIATION) {
                // From the sum of squares to that of the squared differences from the segment's mean.
                int n_cells = 0;
                for (int cell = 0; cell < a.rows.n; cell++) n_cells += a.rows.segment[cell] == (u32)s;
                const double all = sum_of(shares);
                sum = fmax(sum - all * all / n_cells, 0.0);
            }
            a.out_sums[((size_t)k * n_segments + s) * n_genes + gene] = (float)sum;
        }
    }
}

// The loss of all blocks, in one block.
extern "C" __global__ void __launch_bounds__(256) finish_loss(LossArgs a) {
    __shared__ double parts[256];
    const int n_blocks = ((a.n_padded + GENES - 1) / GENES) * ((a.rows.n + CELLS - 1) / CELLS);
    double sum = 0.0;
    for (int k = threadIdx.x; k < n_blocks; k += blockDim.x) sum += a.values[k];
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0.0;
    for (int k = 0; k < blockDim.x; k++) sum += parts[k];
    a.loss[0] = (float)(sum * a.per_cell);
}
