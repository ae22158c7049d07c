// The pool that asynchronous allocations come from. What is freed goes back at once: a threshold is noted, no more.
#include "memory.h"

using namespace cuda_on_cpu;

namespace cuda_on_cpu {
struct Pool { std::uint64_t release_threshold; };
static Pool pool;
} // namespace cuda_on_cpu

// CUDA's numbers of the attributes.
enum { REUSE_FIRST = 1, REUSE_LAST = 3, RELEASE_THRESHOLD, RESERVED, MOST_RESERVED, USED, MOST_USED };

API Result cuDeviceGetDefaultMemPool(Pool **out, Device) {
    *out = &pool;
    return SUCCESS;
}

API Result cuDeviceGetMemPool(Pool **out, Device device) { return cuDeviceGetDefaultMemPool(out, device); }

API Result cuMemPoolSetAttribute(Pool *of, int attribute, void *value) {
    if (of != &pool || attribute < REUSE_FIRST || attribute > MOST_USED) return INVALID_VALUE;
    if (attribute == RELEASE_THRESHOLD) pool.release_threshold = *static_cast<std::uint64_t *>(value);
    return SUCCESS;
}

API Result cuMemPoolGetAttribute(Pool *of, int attribute, void *value) {
    if (of != &pool || attribute < REUSE_FIRST || attribute > MOST_USED) return INVALID_VALUE;
    if (attribute <= REUSE_LAST) *static_cast<int *>(value) = 1;
    else if (attribute == RELEASE_THRESHOLD) *static_cast<std::uint64_t *>(value) = pool.release_threshold;
    else *static_cast<std::uint64_t *>(value) = memory_in_use();
    return SUCCESS;
}

API Result cuMemPoolTrimTo(Pool *of, std::size_t) { return of == &pool ? SUCCESS : INVALID_VALUE; }
