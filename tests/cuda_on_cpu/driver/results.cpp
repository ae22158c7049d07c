#include "api.h"

using namespace cuda_on_cpu;

struct Name {
    Result result;
    const char *name, *text;
};

static const Name NAMES[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};

static const Name *find(Result result) {
    for (const Name &name : NAMES)
        if (name.result == result) return &name;
    return nullptr;
}

API Result cuGetErrorName(Result result, const char **text) {
    const Name *name = find(result);
    *text = name ? name->name : nullptr;
    return name ? SUCCESS : INVALID_VALUE;
}

API Result cuGetErrorString(Result result, const char **text) {
    const Name *name = find(result);
    *text = name ? name->text : nullptr;
    return name ? SUCCESS : INVALID_VALUE;
}
