// Launches, refused where a device would refuse them.
#include "../blocks/launch.h"
#include "../blocks/failure.h"
#include "api.h"
#include "limits.h"
#include "memory.h"
#include "modules.h"
#include "report.h"

using namespace cuda_on_cpu;

static std::string text_of(const dim3 &size) {
    return std::to_string(size.x) + " x " + std::to_string(size.y) + " x " + std::to_string(size.z);
}

static bool exceeds(const dim3 &size, const unsigned (&most)[3]) {
    return size.x > most[0] || size.y > most[1] || size.z > most[2];
}

// Empty where there is none.
static std::string reason_to_refuse(const Function &function, const dim3 &grid, const dim3 &block,
                                    std::size_t dynamic_bytes) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || exceeds(grid, MAX_GRID)) return "a grid of " + text_of(grid);
    const std::size_t n = std::size_t(block.x) * block.y * block.z;
    if (n == 0 || n > MAX_THREADS || exceeds(block, MAX_BLOCK)) return "blocks of " + text_of(block);
    if (function.ptx.max_threads && n > function.ptx.max_threads)
        return "blocks of " + text_of(block) + ", more than its __launch_bounds__ of " +
               std::to_string(function.ptx.max_threads);
    if (dynamic_bytes > function.max_dynamic_bytes)
        return std::to_string(dynamic_bytes) + " bytes of dynamic shared memory, of at most " +
               std::to_string(function.max_dynamic_bytes);
    return {};
}

API Result cuLaunchKernel(Function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned dynamic_bytes, Stream *, void **arguments,
                          void **extra) {
    if (!has_context()) return INVALID_CONTEXT;
    if (!function || extra || (!arguments && !function->entry->parameter_sizes.empty())) return INVALID_VALUE;
    const dim3 grid(grid_x, grid_y, grid_z), block(block_x, block_y, block_z);
    const std::string reason = reason_to_refuse(*function, grid, block, dynamic_bytes);
    if (!reason.empty()) {
        say(function->name + " cannot be launched with " + reason);
        return INVALID_VALUE;
    }
    report().launched(function->name);
    run({function->name, function->entry, grid, block, dynamic_bytes, arguments});
    check_guards(function->name.c_str());
    return SUCCESS;
}

// CUDA's numbers of the attributes of a function.
enum { MAX_THREADS_OF_BLOCK = 0, SHARED_BYTES = 1, PTX_VERSION = 5, BINARY_VERSION = 6, MAX_DYNAMIC_BYTES = 8 };

API Result cuFuncSetAttribute(Function *function, int attribute, int value) {
    if (attribute != MAX_DYNAMIC_BYTES) return SUCCESS;
    if (value < 0 || static_cast<std::size_t>(value) > MAX_SHARED_ASKED_FOR - function->ptx.shared_bytes) {
        say(function->name + " asks for " + std::to_string(value) + " bytes of dynamic shared memory");
        return INVALID_VALUE;
    }
    function->max_dynamic_bytes = static_cast<std::size_t>(value);
    return SUCCESS;
}

API Result cuFuncGetAttribute(int *value, int attribute, Function *function) {
    const PtxEntry &ptx = function->ptx;
    switch (attribute) {
    case MAX_THREADS_OF_BLOCK: *value = static_cast<int>(ptx.max_threads ? ptx.max_threads : MAX_THREADS); break;
    case SHARED_BYTES: *value = static_cast<int>(ptx.shared_bytes); break;
    case PTX_VERSION: case BINARY_VERSION: *value = 80; break;
    case MAX_DYNAMIC_BYTES: *value = static_cast<int>(function->max_dynamic_bytes); break;
    default: *value = 0;
    }
    return SUCCESS;
}

API Result cuFuncSetCacheConfig(Function *, int) { return SUCCESS; }
