#include "order.h"
#include "environment.h"
#include <algorithm>
#include <numeric>
#include <string>

namespace cuda_on_cpu {

static const char *VARIABLE = "CUDA_ON_CPU_ORDER";

Order::Order() {
    const std::string wanted = variable(VARIABLE, "forward");
    if (wanted == "forward") return;
    kind = wanted == "reverse" ? REVERSE : SHUFFLED;
    if (kind == SHUFFLED) state = number(VARIABLE, 0);
}

std::vector<std::size_t> Order::first(std::size_t n) {
    std::vector<std::size_t> sequence(n);
    std::iota(sequence.begin(), sequence.end(), std::size_t(0));
    if (kind == REVERSE) std::reverse(sequence.begin(), sequence.end());
    next(sequence);
    return sequence;
}

void Order::next(std::vector<std::size_t> &sequence) {
    if (kind != SHUFFLED) return;
    for (std::size_t left = sequence.size(); left > 1; left--) std::swap(sequence[left - 1], sequence[random() % left]);
}

// SplitMix64, so that a seed means the same everywhere.
std::uint64_t Order::random() {
    std::uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

} // namespace cuda_on_cpu
