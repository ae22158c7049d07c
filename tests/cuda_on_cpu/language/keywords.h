// The words that CUDA C adds to C++.
#pragma once

#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

// The word by which build.sh finds the entries of a file.
#ifdef CUDA_ON_CPU_LIST_ENTRIES
#define __global__ cuda_on_cpu_entry
#else
#define __global__
#endif

// One block runs at a time, so that static memory serves as the memory that its threads share. It lies in a section of
// its own for every file of kernels: this is how it is found again to be poisoned before each block. (g++ leaves the
// shared variables of templates outside of the section. They work, but keep what the block before has left there.)
#define CUDA_ON_CPU_TEXT_OF(word) #word
#define CUDA_ON_CPU_SECTION(unit) "shared_of_" CUDA_ON_CPU_TEXT_OF(unit)
#define __shared__ static __attribute__((section(CUDA_ON_CPU_SECTION(CUDA_ON_CPU_UNIT))))

// For nvcc this is `extern __shared__ type name[]`, which C++ has no like of.
#define DYNAMIC_SHARED(type, name) type *const name = static_cast<type *>(cuda_on_cpu::dynamic_shared_memory())
