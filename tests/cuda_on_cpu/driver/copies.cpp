// Copies and fills, each of which has to stay inside an allocation.
#include "memory.h"
#include "report.h"
#include <cstring>

using namespace cuda_on_cpu;

static void *at(DevicePointer pointer) { return reinterpret_cast<void *>(pointer); }

static Result check(DevicePointer pointer, std::size_t bytes, const char *asker) {
    if (!has_context()) return INVALID_CONTEXT;
    return is_inside(at(pointer), bytes, asker) ? SUCCESS : INVALID_VALUE;
}

API Result cuMemcpyHtoD_v2(DevicePointer to, const void *from, std::size_t bytes) {
    if (const Result bad = check(to, bytes, "a copy to the device")) return bad;
    std::memcpy(at(to), from, bytes);
    report().copied(Report::TO_DEVICE, bytes);
    return SUCCESS;
}

API Result cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, std::size_t bytes, Stream *) {
    return cuMemcpyHtoD_v2(to, from, bytes);
}

API Result cuMemcpyDtoH_v2(void *to, DevicePointer from, std::size_t bytes) {
    if (const Result bad = check(from, bytes, "a copy to the host")) return bad;
    std::memcpy(to, at(from), bytes);
    report().copied(Report::TO_HOST, bytes);
    return SUCCESS;
}

API Result cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, std::size_t bytes, Stream *) {
    return cuMemcpyDtoH_v2(to, from, bytes);
}

API Result cuMemcpyDtoD_v2(DevicePointer to, DevicePointer from, std::size_t bytes) {
    if (const Result bad = check(from, bytes, "a copy on the device, from")) return bad;
    if (const Result bad = check(to, bytes, "a copy on the device, to")) return bad;
    std::memmove(at(to), at(from), bytes);
    report().copied(Report::WITHIN, bytes);
    return SUCCESS;
}

API Result cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, std::size_t bytes, Stream *) {
    return cuMemcpyDtoD_v2(to, from, bytes);
}

API Result cuMemsetD8_v2(DevicePointer to, unsigned char value, std::size_t bytes) {
    if (const Result bad = check(to, bytes, "a fill")) return bad;
    std::memset(at(to), value, bytes);
    return SUCCESS;
}

API Result cuMemsetD8Async(DevicePointer to, unsigned char value, std::size_t bytes, Stream *) {
    return cuMemsetD8_v2(to, value, bytes);
}
