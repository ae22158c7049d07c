// What the threads of a block share. Nothing is left in it from one block to the next.
#pragma once
#include "../language/entries.h"
#include <cstddef>

namespace cuda_on_cpu {

class SharedMemory {
public:
    SharedMemory(const Entry &entry, std::size_t dynamic_bytes);
    ~SharedMemory();
    SharedMemory(const SharedMemory &) = delete;

    // Not-a-number for floats, -1 or the highest for integers: conspicuous where it is read before it is written.
    void poison();

private:
    const Entry &entry;
    std::size_t dynamic_bytes;
};

} // namespace cuda_on_cpu
