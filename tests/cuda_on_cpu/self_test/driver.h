// The few functions of CUDA's driver that the self test calls, and how it calls them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

using DevicePointer = std::uint64_t;

extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuModuleLoadData(void **, const void *);
int cuModuleGetFunction(void **, void *, const char *);
int cuFuncSetAttribute(void *, int, int);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                   void **);
int cuMemAlloc_v2(DevicePointer *, std::size_t);
int cuMemFree_v2(DevicePointer);
int cuMemGetInfo_v2(std::size_t *, std::size_t *);
int cuMemcpyHtoD_v2(DevicePointer, const void *, std::size_t);
int cuMemcpyDtoH_v2(void *, DevicePointer, std::size_t);
}

// Ends the program where `result` is not zero.
void must(int result, const char *what);
void begin();

// PTX as nvcc would write it, as far as it is looked at.
std::string ptx(const std::string &kernel, std::size_t parameter_size, std::size_t shared_bytes,
                std::size_t max_threads);
// Null where the kernel is not found; its result then is in `result`.
void *find(const std::string &ptx, const std::string &kernel, int &result);

DevicePointer to_device(const std::vector<float> &values);
DevicePointer empty(std::size_t n);
std::vector<float> to_host(DevicePointer from, std::size_t n);
