#include "driver.h"
#include <cstdio>
#include <cstdlib>

void must(int result, const char *what) {
    if (result == 0) return;
    std::printf("%s: error %d\n", what, result);
    std::exit(1);
}

void begin() {
    void *context;
    must(cuInit(0), "cuInit");
    must(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
    must(cuCtxSetCurrent(context), "cuCtxSetCurrent");
}

std::string ptx(const std::string &kernel, std::size_t parameter_size, std::size_t shared_bytes,
                std::size_t max_threads) {
    std::string text = "// .entry in_a_comment\n.version 9.0\n.target sm_80\n.visible .entry " + kernel +
                       "(\n\t.param .align 8 .b8 " + kernel + "_param_0[" + std::to_string(parameter_size) + "]\n)\n";
    if (max_threads) text += ".maxntid " + std::to_string(max_threads) + ", 1, 1\n";
    text += "{\n";
    if (shared_bytes) text += "\t.shared .align 4 .b8 values[" + std::to_string(shared_bytes) + "];\n";
    return text + "\tst.shared.f32 \t[%r6], %f1;\n\tret;\n}\n";
}

void *find(const std::string &ptx, const std::string &kernel, int &result) {
    void *module, *function = nullptr;
    must(cuModuleLoadData(&module, ptx.c_str()), "cuModuleLoadData");
    result = cuModuleGetFunction(&function, module, kernel.c_str());
    return result == 0 ? function : nullptr;
}

DevicePointer empty(std::size_t n) {
    DevicePointer pointer;
    must(cuMemAlloc_v2(&pointer, n * sizeof(float)), "cuMemAlloc");
    return pointer;
}

DevicePointer to_device(const std::vector<float> &values) {
    const DevicePointer pointer = empty(values.size());
    must(cuMemcpyHtoD_v2(pointer, values.data(), values.size() * sizeof(float)), "cuMemcpyHtoD");
    return pointer;
}

std::vector<float> to_host(DevicePointer from, std::size_t n) {
    std::vector<float> values(n);
    must(cuMemcpyDtoH_v2(values.data(), from, n * sizeof(float)), "cuMemcpyDtoH");
    return values;
}
