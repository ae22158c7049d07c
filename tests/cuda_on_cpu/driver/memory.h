// The memory of the device: blocks of the processor's, each known by where it starts and how long it is.
#pragma once
#include "api.h"

namespace cuda_on_cpu {

// CUDA_ON_CPU_MEMORY bytes, 16 GiB unless it is set.
std::size_t memory_in_all();
std::size_t memory_in_use();

// Not-a-number for floats: what no kernel wrote is conspicuous where it is read.
Result allocate(DevicePointer *pointer, std::size_t bytes);
Result release(DevicePointer pointer);

// Whether `bytes` from `pointer` on belong to one allocation. If not, says so, on behalf of `asker`.
bool is_inside(const void *pointer, std::size_t bytes, const char *asker);

// Ends the process if something has been written right before or after an allocation.
void check_guards(const char *after);

} // namespace cuda_on_cpu
