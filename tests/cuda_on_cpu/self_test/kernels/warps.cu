// What the functions of a warp give, checked by the lanes themselves: out is 1 where all is right.
#include "cuda_on_cpu.h"

#define ALL 0xffffffffu

struct WarpArgs { float *out; };

extern "C" __global__ void all_of_a_warp(WarpArgs a) {
    const int lane = threadIdx.x % 32, first_of_8 = lane & ~7;
    bool right = true;
    right &= __shfl_sync(ALL, lane, 5) == 5;
    right &= __shfl_sync(ALL, lane, 3, 8) == first_of_8 + 3;
    right &= __shfl_xor_sync(ALL, 2.0 * lane, 17) == 2.0 * (lane ^ 17);
    // Across segments: to those before, not to those after.
    right &= __shfl_xor_sync(ALL, lane, 8, 8) == (lane & 8 ? lane ^ 8 : lane);
    right &= __shfl_down_sync(ALL, (float)lane, 3) == (lane + 3 < 32 ? lane + 3 : lane);
    right &= __shfl_down_sync(ALL, lane, 3, 8) == (lane + 3 < first_of_8 + 8 ? lane + 3 : lane);
    right &= __shfl_up_sync(ALL, lane, 3) == (lane >= 3 ? lane - 3 : lane);
    right &= __shfl_up_sync(ALL, lane, 3, 8) == (lane - 3 >= first_of_8 ? lane - 3 : lane);
    right &= __ballot_sync(ALL, lane % 2) == 0xaaaaaaaau && __popc(__ballot_sync(ALL, lane < 7)) == 7;
    right &= __any_sync(ALL, lane == 9) && !__any_sync(ALL, lane == 32);
    right &= __all_sync(ALL, lane < 32) && !__all_sync(ALL, lane != 9);
    a.out[threadIdx.x] = right ? 1.0f : 0.0f;
}

// Two halves that go ways of their own, lanes that have left, and a last warp of 8 lanes in a block of 40 threads.
extern "C" __global__ void parts_of_a_warp(WarpArgs a) {
    const int lane = threadIdx.x % 32, n = threadIdx.x < 32 ? 32 : 8;
    bool right = true;
    if (lane < 4) right &= __shfl_xor_sync(0x0000000fu, lane, 3) == (lane ^ 3);
    else if (n == 32) right &= __ballot_sync(0xfffffff0u, 1) == 0xfffffff0u;
    a.out[threadIdx.x] = right ? 1.0f : 0.0f;
    if (lane == 0) return;
    right &= __ballot_sync(ALL, 1) == (n == 32 ? 0xfffffffeu : 0x000000feu);
    a.out[threadIdx.x] = right ? 1.0f : 0.0f;
}
