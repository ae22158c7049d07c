// The calls that take and give back memory.
#include "memory.h"
#include <cstdlib>

using namespace cuda_on_cpu;

API Result cuMemAlloc_v2(DevicePointer *pointer, std::size_t bytes) {
    return has_context() ? allocate(pointer, bytes) : INVALID_CONTEXT;
}

// Nothing may be asked of this one, unlike the other; cudarc does.
API Result cuMemAllocAsync(DevicePointer *pointer, std::size_t bytes, Stream *) {
    if (bytes > 0) return cuMemAlloc_v2(pointer, bytes);
    *pointer = 0;
    return has_context() ? SUCCESS : INVALID_CONTEXT;
}

API Result cuMemFree_v2(DevicePointer pointer) { return release(pointer); }

API Result cuMemFreeAsync(DevicePointer pointer, Stream *) { return release(pointer); }

API Result cuMemGetInfo_v2(std::size_t *free, std::size_t *total) {
    if (!has_context()) return INVALID_CONTEXT;
    const std::size_t used = memory_in_use();
    *total = memory_in_all();
    *free = *total > used ? *total - used : 0;
    return SUCCESS;
}

// Pinned memory of the host. It is not memory of the device: kernels are not given it here.
API Result cuMemHostAlloc(void **pointer, std::size_t bytes, unsigned) {
    if (!has_context()) return INVALID_CONTEXT;
    *pointer = std::malloc(bytes);
    return *pointer ? SUCCESS : OUT_OF_MEMORY;
}

API Result cuMemAllocHost_v2(void **pointer, std::size_t bytes) { return cuMemHostAlloc(pointer, bytes, 0); }

API Result cuMemFreeHost(void *pointer) {
    std::free(pointer);
    return SUCCESS;
}
