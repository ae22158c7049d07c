// A function that a program must find when it is linked or loaded, but is not expected to call. build.sh writes one for
// all that the bindings declare and that is defined nowhere else: hence weak.
#pragma once

namespace cuda_on_cpu {
// Says so, and returns `status`.
int not_played(const char *name, int status);
} // namespace cuda_on_cpu

#define CUDA_ON_CPU_NOT_PLAYED(name, status)                                                                           \
    extern "C" __attribute__((weak, visibility("default"))) int name() {                                         \
        return cuda_on_cpu::not_played(#name, status);                                                                 \
    }
