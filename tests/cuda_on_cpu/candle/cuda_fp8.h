// In place of CUDA's header: see cuda_fp16.h.
#pragma once
#include "cuda_fp16.h"

struct __nv_fp8_e4m3 {
    unsigned char __x;
    __nv_fp8_e4m3() = default;
    explicit __nv_fp8_e4m3(float);
};

enum { __NV_E4M3 };
__half __nv_cvt_fp8_to_halfraw(unsigned char, int);
