#include "memory.h"
#include "../blocks/environment.h"
#include "../blocks/failure.h"
#include "report.h"
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace cuda_on_cpu {

// As CUDA aligns.
static const std::size_t ALIGNMENT = 256;
// What lies on either side of an allocation, so that a kernel that writes there is noticed without the sanitizer as
// well. The sanitizer has guards of its own, which notice reads too; ours would only stand in its way.
#ifdef __SANITIZE_ADDRESS__
static const std::size_t GUARD = 0;
#else
static const std::size_t GUARD = 256;
#endif
static const int POISON = 0xff;

static std::mutex mutex;
static std::size_t in_use;

// Never destroyed: programs free memory until their very end.
static std::map<std::uintptr_t, std::size_t> &allocations() {
    static auto *all = new std::map<std::uintptr_t, std::size_t>;
    return *all;
}

std::size_t memory_in_all() { return number("CUDA_ON_CPU_MEMORY", std::uint64_t(16) << 30); }

std::size_t memory_in_use() {
    const std::lock_guard<std::mutex> guard(mutex);
    return in_use;
}

Result allocate(DevicePointer *pointer, std::size_t bytes) {
    if (!pointer || bytes == 0) return INVALID_VALUE;
    const std::lock_guard<std::mutex> guard(mutex);
    void *memory = nullptr;
    const std::size_t all = memory_in_all();
    if (bytes > all || in_use > all - bytes || posix_memalign(&memory, ALIGNMENT, bytes + 2 * GUARD) != 0)
        return OUT_OF_MEMORY;
    std::memset(memory, POISON, bytes + 2 * GUARD);
    *pointer = reinterpret_cast<std::uintptr_t>(memory) + GUARD;
    allocations()[*pointer] = bytes;
    in_use += bytes;
    report().allocated(bytes, in_use);
    return SUCCESS;
}

Result release(DevicePointer pointer) {
    if (pointer == 0) return SUCCESS;
    const std::lock_guard<std::mutex> guard(mutex);
    const auto found = allocations().find(pointer);
    if (found == allocations().end()) {
        say("what is to be freed was not allocated, or has been freed before");
        return INVALID_VALUE;
    }
    std::memset(reinterpret_cast<void *>(pointer), POISON, found->second);
    std::free(reinterpret_cast<void *>(pointer - GUARD));
    in_use -= found->second;
    allocations().erase(found);
    report().freed();
    return SUCCESS;
}

bool is_inside(const void *pointer, std::size_t bytes, const char *asker) {
    if (bytes == 0) return true;
    const auto from = reinterpret_cast<std::uintptr_t>(pointer);
    const std::lock_guard<std::mutex> guard(mutex);
    auto found = allocations().upper_bound(from);
    if (found != allocations().begin()) {
        --found;
        const std::size_t before = from - found->first;
        if (before <= found->second && bytes <= found->second - before) return true;
        if (before < found->second) {
            say(std::string(asker) + ": " + std::to_string(bytes) + " bytes, but the allocation ends after " +
                std::to_string(found->second - before));
            return false;
        }
    }
    say(std::string(asker) + ": not memory of the device");
    return false;
}

static bool is_poisoned(std::uintptr_t from) {
    static const std::string expected(GUARD, static_cast<char>(POISON));
    return std::memcmp(reinterpret_cast<const void *>(from), expected.data(), GUARD) == 0;
}

void check_guards(const char *after) {
    const std::lock_guard<std::mutex> guard(mutex);
    for (const auto &[from, bytes] : allocations())
        if (!is_poisoned(from - GUARD) || !is_poisoned(from + bytes))
            fail(std::string(after) + " wrote " + (is_poisoned(from + bytes) ? "before the start" : "beyond the end") +
                 " of an allocation of " + std::to_string(bytes) + " bytes");
}

} // namespace cuda_on_cpu
