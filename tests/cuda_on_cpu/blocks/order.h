// The order in which blocks, and the threads of a block, are taken: by CUDA_ON_CPU_ORDER, which is `forward`, `reverse`
// or a number, the seed of shuffles. A kernel that is right gives the same bits for all; where a barrier is missing, a
// thread reads too early in some.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cuda_on_cpu {

class Order {
public:
    Order(); // as the environment says now

    std::vector<std::size_t> first(std::size_t n);
    // Shuffles again, where it shuffles at all.
    void next(std::vector<std::size_t> &sequence);

private:
    std::uint64_t random();

    enum { FORWARD, REVERSE, SHUFFLED } kind = FORWARD;
    std::uint64_t state = 0;
};

} // namespace cuda_on_cpu
