#include "report.h"
#include "../blocks/environment.h"
#include <cstdio>
#include <cstdlib>

namespace cuda_on_cpu {

using Lock = std::lock_guard<std::mutex>;

void Report::allocated(std::size_t bytes, std::size_t now_in_use) {
    const Lock lock(mutex);
    allocations++;
    bytes_allocated += bytes;
    if (now_in_use > most_in_use) most_in_use = now_in_use;
}

void Report::freed() {
    const Lock lock(mutex);
    frees++;
}

void Report::copied(Way way, std::size_t bytes) {
    const Lock lock(mutex);
    copies[way]++;
    bytes_copied[way] += bytes;
}

void Report::launched(const std::string &kernel) {
    const Lock lock(mutex);
    launches++;
    of_kernel[kernel]++;
}

void Report::called(const std::string &library_function) {
    const Lock lock(mutex);
    of_function[library_function]++;
}

void Report::print() {
    const Lock lock(mutex);
    std::fprintf(stderr, "cuda_on_cpu: report\n");
    std::fprintf(stderr, "  %zu allocations of %zu bytes in all, %zu freed, %zu bytes at the most\n", allocations,
                 bytes_allocated, frees, most_in_use);
    const char *names[WAYS] = {"to the device", "to the host", "on the device"};
    for (int way = 0; way < WAYS; way++)
        std::fprintf(stderr, "  %zu copies %s, %zu bytes\n", copies[way], names[way], bytes_copied[way]);
    std::fprintf(stderr, "  %zu launches\n", launches);
    for (const auto &[name, n] : of_kernel) std::fprintf(stderr, "  %10zu %s\n", n, name.c_str());
    for (const auto &[name, n] : of_function) std::fprintf(stderr, "  %10zu %s (library)\n", n, name.c_str());
}

static void print_at_exit() { report().print(); }

static Report *begin() {
    if (is_wanted("CUDA_ON_CPU_REPORT")) std::atexit(print_at_exit);
    return new Report; // never destroyed: programs free memory until their very end
}

Report &report() {
    static Report *const the = begin();
    return *the;
}

} // namespace cuda_on_cpu
