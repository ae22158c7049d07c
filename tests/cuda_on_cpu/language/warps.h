// What the lanes of a warp tell one another. Each of these waits until the lanes of its mask have come.
#pragma once
#include "site.h"
#include "threads.h"

namespace cuda_on_cpu {

int lane();
// Replaces a value of up to eight bytes by that of lane `source`.
void shuffle(unsigned mask, void *value, unsigned size, int source, Site site);
unsigned ballot(unsigned mask, bool vote, Site site);
void wait_for_warp(unsigned mask, Site site);

template <class T> T shuffled(unsigned mask, T value, int source, Site site) {
    static_assert(sizeof(T) <= 8, "CUDA shuffles values of up to eight bytes");
    shuffle(mask, &value, sizeof value, source, site);
    return value;
}

// A warp falls into segments of `width` lanes, a power of two.
inline int first_of_segment(int width) { return lane() & ~(width - 1); }
// The lane itself where `source` lies beyond its segment, as CUDA has it.
inline int not_after_segment(int source, int width) {
    return source < first_of_segment(width) + width ? source : lane();
}
inline int not_before_segment(int source, int width) { return source >= first_of_segment(width) ? source : lane(); }

} // namespace cuda_on_cpu

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    return cuda_on_cpu::shuffled(mask, value, cuda_on_cpu::first_of_segment(width) + (source & (width - 1)), site);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize,
                  cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    const int source = cuda_on_cpu::lane() ^ bits;
    return cuda_on_cpu::shuffled(mask, value, cuda_on_cpu::not_after_segment(source, width), site);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = warpSize,
                   cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    const int source = cuda_on_cpu::lane() + static_cast<int>(by);
    return cuda_on_cpu::shuffled(mask, value, cuda_on_cpu::not_after_segment(source, width), site);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = warpSize,
                 cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    const int source = cuda_on_cpu::lane() - static_cast<int>(by);
    return cuda_on_cpu::shuffled(mask, value, cuda_on_cpu::not_before_segment(source, width), site);
}

inline unsigned __ballot_sync(unsigned mask, int vote, cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    return cuda_on_cpu::ballot(mask, vote != 0, site);
}

inline int __any_sync(unsigned mask, int vote, cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    return cuda_on_cpu::ballot(mask, vote != 0, site) != 0;
}

inline int __all_sync(unsigned mask, int vote, cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    return cuda_on_cpu::ballot(mask, vote == 0, site) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
    cuda_on_cpu::wait_for_warp(mask, site);
}
