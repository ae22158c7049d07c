#include "block.h"
#include "failure.h"

uint3 threadIdx;

namespace cuda_on_cpu {

static Block *running_block;

// Fibers that wait for a thread to run. They outlive the launch: to make one is slow.
static std::vector<Fiber *> &idle_fibers() {
    static auto *fibers = new std::vector<Fiber *>;
    return *fibers;
}

Block::Block(const Launch &launch, Order &order) : launch(launch), order(order) {
    const dim3 size = launch.block;
    for (unsigned z = 0; z < size.z; z++)
        for (unsigned y = 0; y < size.y; y++)
            for (unsigned x = 0; x < size.x; x++) {
                threads.emplace_back();
                threads.back().index = {x, y, z};
            }
    for (std::size_t first = 0; first < threads.size(); first += LANES)
        warps.emplace_back(&threads[first], threads.size() - first);
    sequence = order.first(threads.size());
    running_block = this;
}

Block::~Block() { running_block = nullptr; }

Block *Block::running() { return running_block; }

void Block::run() {
    reset();
    while (n_left > 0) {
        order.next(sequence);
        if (!run_ready_threads()) open_barrier();
    }
}

void Block::reset() {
    for (Thread &thread : threads) {
        thread.state = State::READY;
        thread.site = {"the start of the kernel", 0};
    }
    for (Warp &warp : warps) warp.reset();
    n_left = threads.size();
}

// One pass. False if no thread could run.
bool Block::run_ready_threads() {
    bool any = false;
    for (next = 0; next < sequence.size(); take_warp_again()) {
        Thread &thread = threads[sequence[next++]];
        if (thread.state != State::READY) continue;
        any = true;
        if (!thread.fiber) {
            if (idle_fibers().empty()) idle_fibers().push_back(new Fiber(run_threads));
            thread.fiber = idle_fibers().back();
            idle_fibers().pop_back();
        }
        enter(thread);
        thread.fiber->resume();
    }
    return any;
}

// Threads that follow one another in the sequence, of one warp, are taken again as long as one of them can go on: a warp
// runs ahead of the others, up to where it waits for the block.
void Block::take_warp_again() {
    if (next < sequence.size() && same_warp(next - 1, next)) return;
    std::size_t first = next - 1;
    bool ready = threads[sequence[first]].state == State::READY;
    for (; first > 0 && same_warp(first - 1, first); first--) ready |= threads[sequence[first - 1]].state == State::READY;
    if (ready) next = first;
}

bool Block::same_warp(std::size_t a, std::size_t b) const { return sequence[a] / LANES == sequence[b] / LANES; }

void Block::enter(Thread &thread) {
    current = &thread;
    threadIdx = thread.index;
}

// What a fiber does: threads, one after the other. Those of a kernel without barriers all run on the first fiber, which
// saves the switches.
void Block::run_threads() {
    for (;;) {
        Block &block = *running_block;
        block.launch.entry->call(block.launch.arguments);
        block.leave(*block.current);
        if (block.enter_next_without_fiber()) continue;
        idle_fibers().push_back(Fiber::running());
        Fiber::pause();
    }
}

void Block::leave(Thread &thread) {
    thread.state = State::DONE;
    thread.fiber = nullptr;
    n_left--;
    warp_of(thread).left(lane());
}

bool Block::enter_next_without_fiber() {
    if (next == sequence.size() || !same_warp(next - 1, next)) return false;
    Thread &thread = threads[sequence[next]];
    if (thread.state != State::READY || thread.fiber) return false;
    next++;
    thread.fiber = Fiber::running();
    enter(thread);
    return true;
}

void Block::pause(State state, Site site) {
    Thread &thread = *current;
    thread.state = state;
    thread.site = site;
    if (state == State::IN_WARP_CALL) warp_of(thread).came(lane());
    Fiber::pause();
}

void Block::wait_for_block(Site site) { pause(State::AT_BARRIER, site); }

void Block::wait_for_warp(WarpCall &call, Site site) {
    current->call = &call;
    pause(State::IN_WARP_CALL, site);
}

// Nobody can go on: then all must wait for the block, at one place. Threads that are done are not waited for.
void Block::open_barrier() {
    const Thread *first = nullptr;
    for (const Thread &thread : threads) {
        if (thread.state == State::IN_WARP_CALL)
            fail_in_kernel("waits for lanes of its mask that never come", thread.index, thread.site);
        if (thread.state == State::DONE) continue;
        if (!first) first = &thread;
        if (!same_site(thread.site, first->site))
            fail_in_kernel("threads of a block wait at different barriers: another is at " + text_of(first->site),
                           thread.index, thread.site);
    }
    for (Thread &thread : threads)
        if (thread.state == State::AT_BARRIER) thread.state = State::READY;
}

unsigned Block::lane() const { return static_cast<unsigned>(current - threads.data()) % LANES; }

Warp &Block::warp_of(const Thread &thread) { return warps[static_cast<std::size_t>(&thread - threads.data()) / LANES]; }

} // namespace cuda_on_cpu
