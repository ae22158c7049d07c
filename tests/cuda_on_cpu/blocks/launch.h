// Runs a kernel on a grid of blocks.
#pragma once
#include "../language/entries.h"
#include "../language/threads.h"
#include <cstddef>
#include <string>

namespace cuda_on_cpu {

struct Launch {
    std::string name;
    const Entry *entry;
    dim3 grid, block;
    std::size_t dynamic_bytes; // of shared memory
    void *const *arguments;
};

// Returns when it is done. Launches of several threads of the program follow one another.
void run(const Launch &launch);

const char *name_of_running_kernel();

} // namespace cuda_on_cpu
