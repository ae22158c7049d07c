// The device's one context, which a thread has to make current before it works with memory or kernels.
#include "api.h"

using namespace cuda_on_cpu;

namespace cuda_on_cpu {
struct DriverContext {};
static DriverContext primary;
static thread_local DriverContext *current;

bool has_context() { return current != nullptr; }
} // namespace cuda_on_cpu

API Result cuDevicePrimaryCtxRetain(DriverContext **context, Device) {
    *context = &primary;
    return SUCCESS;
}

API Result cuDevicePrimaryCtxRelease_v2(Device) { return SUCCESS; }

API Result cuCtxSetCurrent(DriverContext *context) {
    if (context && context != &primary) return INVALID_CONTEXT;
    current = context;
    return SUCCESS;
}

API Result cuCtxGetCurrent(DriverContext **context) {
    *context = current;
    return SUCCESS;
}

API Result cuCtxGetDevice(Device *device) {
    if (!current) return INVALID_CONTEXT;
    *device = 0;
    return SUCCESS;
}

API Result cuCtxSynchronize() { return current ? SUCCESS : INVALID_CONTEXT; }

API Result cuCtxSetFlags(unsigned) { return current ? SUCCESS : INVALID_CONTEXT; }

API Result cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = 0;
    return current ? SUCCESS : INVALID_CONTEXT;
}
