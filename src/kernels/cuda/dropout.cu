// The factors of a dropout, from the stream of random numbers that the host draws from: ChaCha with 8 rounds (Bernstein
// 2008), a thread for each of its blocks of 16 words. Two words make the number of a unit.
#include "common.cuh"

#define WORDS 16

struct DropoutArgs {
    unsigned key[8];
    unsigned long long first; // block of the first unit
    unsigned long long stream;
    int skipped; // units that the first block has before
    int n;       // units
    double rate;
    float kept; // factor of units that are not silenced
    float *out;
};

__device__ inline void add_and_turn(unsigned &a, unsigned b, unsigned &d, int by) {
    a += b;
    d ^= a;
    d = d << by | d >> (32 - by);
}

__device__ inline void quarter(unsigned &a, unsigned &b, unsigned &c, unsigned &d) {
    add_and_turn(a, b, d, 16);
    add_and_turn(c, d, b, 12);
    add_and_turn(a, b, d, 8);
    add_and_turn(c, d, b, 7);
}

extern "C" __global__ void dropout(DropoutArgs a) {
    const int mine = blockIdx.x * blockDim.x + threadIdx.x, units = WORDS / 2;
    const unsigned long long block = a.first + mine;
    if (mine * units >= a.skipped + a.n) return;
    unsigned start[WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[WORDS];
    for (int i = 0; i < 8; i++) start[4 + i] = a.key[i];
    start[12] = (unsigned)block;
    start[13] = (unsigned)(block >> 32);
    start[14] = (unsigned)a.stream;
    start[15] = (unsigned)(a.stream >> 32);
    for (int i = 0; i < WORDS; i++) x[i] = start[i];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 4; i++) quarter(x[i], x[4 + i], x[8 + i], x[12 + i]);
        for (int i = 0; i < 4; i++) quarter(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
    }
    for (int i = 0; i < units; i++) {
        const int unit = mine * units + i - a.skipped;
        if (unit < 0 || unit >= a.n) continue;
        const unsigned long long low = x[2 * i] + start[2 * i], high = x[2 * i + 1] + start[2 * i + 1];
        // As the host makes a double of it: the upper 53 bits.
        const double number = (double)((high << 32 | (low & 0xffffffffull)) >> 11) * 0x1p-53;
        a.out[unit] = number < a.rate ? 0.0f : a.kept;
    }
}
