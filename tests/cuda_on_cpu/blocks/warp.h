// The 32 threads that can exchange values. A call is answered when every lane of its mask has made it; lanes that have
// left the kernel, or that a short last warp lacks, are not waited for.
#pragma once
#include "thread.h"
#include <cstddef>

namespace cuda_on_cpu {

const std::size_t LANES = 32;

struct WarpCall {
    enum Kind { SHUFFLE, BALLOT, WAIT } kind;
    unsigned mask;
    unsigned size;           // of the value
    int source;              // the lane whose value is asked for
    unsigned char value[8];  // what this lane brings
    unsigned char answer[8]; // what it gets
};

class Warp {
public:
    // Its first thread, and how many of the block follow from there on.
    Warp(Thread *threads, std::size_t n);

    void reset();
    // `lane` has put its call into its thread.
    void came(unsigned lane);
    void left(unsigned lane);

private:
    void answer_if_complete(unsigned mask);
    void check_alike(unsigned lanes) const;
    unsigned votes(unsigned lanes) const;

    Thread *threads;
    unsigned all;
    // One bit for each lane: not yet done, and waiting in a call.
    unsigned present, waiting;
};

} // namespace cuda_on_cpu
