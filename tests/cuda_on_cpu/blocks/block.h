// The threads of a block, each on a fiber of its own from the moment that it waits for another.
#pragma once
#include "launch.h"
#include "order.h"
#include "thread.h"
#include "warp.h"
#include <vector>

namespace cuda_on_cpu {

class Block {
public:
    Block(const Launch &launch, Order &order);
    ~Block();
    Block(const Block &) = delete;

    // Every thread, from its first line to its last.
    void run();

    // Called by the thread that runs.
    void wait_for_block(Site site);
    void wait_for_warp(WarpCall &call, Site site);
    unsigned lane() const;

    static Block *running();

private:
    static void run_threads();
    void reset();
    bool run_ready_threads();
    void take_warp_again();
    bool same_warp(std::size_t a, std::size_t b) const; // of places in the sequence
    void enter(Thread &thread);
    bool enter_next_without_fiber();
    void leave(Thread &thread);
    void pause(State state, Site site);
    void open_barrier();
    Warp &warp_of(const Thread &thread);

    const Launch &launch;
    Order &order;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<std::size_t> sequence; // in which this pass takes the threads
    std::size_t next = 0;              // in the sequence
    std::size_t n_left = 0;            // threads that are not done
    Thread *current = nullptr;
};

} // namespace cuda_on_cpu
