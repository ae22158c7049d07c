// In place of CUDA's header, for candle's sources: its kernels of half precision are left out, but their types and a
// few functions are named all the same. What is only declared here is never called.
#pragma once

struct __half {
    unsigned short bits;
    __half() = default;
    __half(float);
    operator float() const;
};

__half __hmax(__half, __half);
__half __hmin(__half, __half);
bool __hisnan(__half);
unsigned short __half_as_ushort(__half);
__half __ushort_as_half(unsigned short);
float __half2float(__half);
