#include "launch.h"
#include "block.h"
#include "order.h"
#include "shared_memory.h"
#include <mutex>

dim3 blockDim, gridDim;
uint3 blockIdx;

namespace cuda_on_cpu {

static const Launch *running;

const char *name_of_running_kernel() { return running ? running->name.c_str() : "none"; }

void run(const Launch &launch) {
    static std::mutex one_at_a_time;
    const std::lock_guard<std::mutex> guard(one_at_a_time);
    running = &launch;
    gridDim = launch.grid;
    blockDim = launch.block;
    SharedMemory shared(*launch.entry, launch.dynamic_bytes);
    Order order;
    Block block(launch, order);
    const std::size_t n_blocks = std::size_t(launch.grid.x) * launch.grid.y * launch.grid.z;
    for (const std::size_t b : order.first(n_blocks)) {
        blockIdx.x = b % launch.grid.x;
        blockIdx.y = b / launch.grid.x % launch.grid.y;
        blockIdx.z = b / launch.grid.x / launch.grid.y;
        shared.poison();
        block.run();
    }
    running = nullptr;
}

} // namespace cuda_on_cpu
