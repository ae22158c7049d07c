// Who a thread is, and how it waits for the others of its block.
#pragma once
#include "site.h"
#include "vectors.h"

// Of the thread that runs now.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

constexpr int warpSize = 32;

namespace cuda_on_cpu {
void wait_for_block(Site site);
void *dynamic_shared_memory();
} // namespace cuda_on_cpu

inline void __syncthreads(cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) { cuda_on_cpu::wait_for_block(site); }

// Threads change places at barriers alone: each sees at once what another has written.
inline void __threadfence() {}
inline void __threadfence_block() {}
