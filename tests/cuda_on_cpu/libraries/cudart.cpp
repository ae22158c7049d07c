// Of CUDA's runtime library, what candle's kernels for mixtures of experts are linked with. nvcc registers them before
// main; nobody here calls them.
#include "../driver/api.h"
#include "not_played.h"

API void **__cudaRegisterFatBinary(void *) {
    static void *handle;
    return &handle;
}
API void __cudaRegisterFatBinaryEnd(void **) {}
API void __cudaUnregisterFatBinary(void **) {}
API void __cudaRegisterFunction(void **, const char *, char *, const char *, int, void *, void *, void *, void *,
                                int *) {}
API void __cudaRegisterVar(void **, char *, char *, const char *, int, std::size_t, int, int) {}
API char __cudaInitModule(void **) { return 1; }

static const int NOT_SUPPORTED_BY_RUNTIME = 801;

#define NOT_PLAYED(name) CUDA_ON_CPU_NOT_PLAYED(name, NOT_SUPPORTED_BY_RUNTIME)
NOT_PLAYED(__cudaGetKernel)
NOT_PLAYED(__cudaLaunchKernel)
NOT_PLAYED(__cudaLaunchKernel_ptsz)
NOT_PLAYED(__cudaPopCallConfiguration)
NOT_PLAYED(__cudaPushCallConfiguration)
NOT_PLAYED(cudaDeviceGetAttribute)
NOT_PLAYED(cudaFree)
NOT_PLAYED(cudaFreeAsync)
NOT_PLAYED(cudaFreeAsync_ptsz)
NOT_PLAYED(cudaFuncGetAttributes)
NOT_PLAYED(cudaFuncSetAttribute)
NOT_PLAYED(cudaGetDevice)
NOT_PLAYED(cudaGetDeviceCount)
NOT_PLAYED(cudaGetLastError)
NOT_PLAYED(cudaLaunchKernel)
NOT_PLAYED(cudaLaunchKernel_ptsz)
NOT_PLAYED(cudaMalloc)
NOT_PLAYED(cudaMallocAsync)
NOT_PLAYED(cudaMallocAsync_ptsz)
NOT_PLAYED(cudaMemsetAsync)
NOT_PLAYED(cudaMemsetAsync_ptsz)
NOT_PLAYED(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
NOT_PLAYED(cudaPeekAtLastError)
NOT_PLAYED(cudaSetDevice)
NOT_PLAYED(cudaStreamSynchronize)
NOT_PLAYED(cudaStreamSynchronize_ptsz)

API const char *cudaGetErrorName(int) { return "cudaErrorNotSupported"; }
API const char *cudaGetErrorString(int) { return "operation not supported"; }
