#include "shared_memory.h"
#include "failure.h"
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace cuda_on_cpu {

// Of the very size that was asked for, so that the sanitizer sees an overrun.
static void *dynamic;

void *dynamic_shared_memory() { return dynamic; }

SharedMemory::SharedMemory(const Entry &entry, std::size_t dynamic_bytes) : entry(entry), dynamic_bytes(dynamic_bytes) {
    if (dynamic_bytes && posix_memalign(&dynamic, 128, dynamic_bytes) != 0) fail("no memory for a block to share");
}

SharedMemory::~SharedMemory() {
    std::free(dynamic);
    dynamic = nullptr;
}

// By hand: between the variables lie zones in which the sanitizer lets no memset write.
__attribute__((no_sanitize("address"))) static void poison_section(char *from, char *to) {
    auto *at = reinterpret_cast<volatile char *>(from);
    const auto *end = reinterpret_cast<volatile char *>(to);
    for (; at != end && reinterpret_cast<std::uintptr_t>(at) % 8 != 0; at++) *at = '\xff';
    for (; end - at >= 8; at += 8) *reinterpret_cast<volatile std::uint64_t *>(at) = ~std::uint64_t(0);
    for (; at != end; at++) *at = '\xff';
}

void SharedMemory::poison() {
    if (entry.shared) poison_section(entry.shared, entry.shared_end);
    if (dynamic) std::memset(dynamic, 0xff, dynamic_bytes);
}

} // namespace cuda_on_cpu
