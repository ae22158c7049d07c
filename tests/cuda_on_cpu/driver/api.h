// What the files of the driver have in common: CUDA's names of results, and how a function of the library is declared.
// CUDA's own header is not needed; a handle is a pointer to what it stands for.
#pragma once
#include <cstddef>
#include <cstdint>

#define API extern "C" __attribute__((visibility("default")))

namespace cuda_on_cpu {

// CUresult, as far as it is returned here.
enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_PTX = 218,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    NOT_SUPPORTED = 801,
};

using DevicePointer = std::uint64_t;
using Device = int;

struct DriverContext;
struct Stream;
struct Event;

// A call that needs a context fails on a thread that has none.
bool has_context();

} // namespace cuda_on_cpu
