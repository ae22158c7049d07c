// The one device.
#include "../blocks/environment.h"
#include "api.h"
#include "limits.h"
#include "memory.h"
#include <cstdio>
#include <cstring>

using namespace cuda_on_cpu;

static bool initialised;

API Result cuInit(unsigned) {
    if (is_wanted("CUDA_ON_CPU_NO_DEVICE")) return NO_DEVICE;
    initialised = true;
    return SUCCESS;
}

API Result cuDriverGetVersion(int *version) {
    *version = 13000;
    return SUCCESS;
}

API Result cuDeviceGetCount(int *count) {
    if (!initialised) return NOT_INITIALIZED;
    *count = 1;
    return SUCCESS;
}

API Result cuDeviceGet(Device *device, int ordinal) {
    if (!initialised) return NOT_INITIALIZED;
    if (ordinal != 0) return INVALID_DEVICE;
    *device = 0;
    return SUCCESS;
}

API Result cuDeviceGetName(char *name, int length, Device) {
    std::snprintf(name, static_cast<std::size_t>(length), "CUDA on the processor (not a GPU)");
    return SUCCESS;
}

API Result cuDeviceGetUuid_v2(char *uuid, Device) {
    std::memcpy(uuid, "cuda-on-the-cpu", 16);
    return SUCCESS;
}

API Result cuDeviceGetUuid(char *uuid, Device device) { return cuDeviceGetUuid_v2(uuid, device); }

API Result cuDeviceTotalMem_v2(std::size_t *bytes, Device) {
    *bytes = memory_in_all();
    return SUCCESS;
}

// By CUDA's numbers of the attributes; the others are zero.
static int attribute(int number) {
    switch (number) {
    case 1: return MAX_THREADS;
    case 2: case 3: case 4: return static_cast<int>(MAX_BLOCK[number - 2]);
    case 5: case 6: case 7: return static_cast<int>(MAX_GRID[number - 5]);
    case 8: return MAX_SHARED;
    case 9: return 64 << 10;   // constant memory
    case 10: return 32;        // lanes of a warp
    case 12: return 64 << 10;  // registers of a block
    case 16: return 4;         // multiprocessors: few, for what a program sizes by them
    case 31: return 1;         // concurrent kernels
    case 38: return 1 << 20;   // bytes of the second cache
    case 39: return 2048;      // threads of a multiprocessor
    case 40: return 1;         // engines that copy
    case 41: return 1;         // unified addresses
    case 75: return 8;         // compute capability
    case 76: return 0;
    case 81: return 164 << 10; // shared memory of a multiprocessor
    case 97: return MAX_SHARED_ASKED_FOR;
    case 115: return 1;        // pools of memory
    default: return 0;
    }
}

API Result cuDeviceGetAttribute(int *value, int number, Device) {
    *value = attribute(number);
    return SUCCESS;
}
