#include "warp.h"
#include "failure.h"
#include <cstring>

namespace cuda_on_cpu {

static bool has(unsigned lanes, unsigned lane) { return lanes >> lane & 1; }

Warp::Warp(Thread *threads, std::size_t n) : threads(threads), all(n < LANES ? (1u << n) - 1 : ~0u) { reset(); }

void Warp::reset() {
    present = all;
    waiting = 0;
}

void Warp::came(unsigned lane) {
    const Thread &thread = threads[lane];
    if (!has(thread.call->mask, lane))
        fail_in_kernel("a lane that its own mask leaves out", thread.index, thread.site);
    waiting |= 1u << lane;
    answer_if_complete(thread.call->mask);
}

void Warp::left(unsigned lane) {
    present &= ~(1u << lane);
    // The others may have waited for this one alone.
    for (unsigned other = 0; waiting >> other; other++)
        if (has(waiting, other) && has(threads[other].call->mask, lane)) answer_if_complete(threads[other].call->mask);
}

void Warp::answer_if_complete(unsigned mask) {
    const unsigned lanes = mask & present;
    if ((waiting & lanes) != lanes) return;
    check_alike(lanes);
    const unsigned ballot = votes(lanes);
    for (unsigned lane = 0; lane < LANES; lane++) {
        if (!has(lanes, lane)) continue;
        WarpCall &call = *threads[lane].call;
        // Undefined on a device: what a lane has that did not take part.
        std::memset(call.answer, 0xff, sizeof call.answer);
        if (call.kind == WarpCall::BALLOT) std::memcpy(call.answer, &ballot, sizeof ballot);
        else if (has(lanes, static_cast<unsigned>(call.source)))
            std::memcpy(call.answer, threads[call.source].call->value, sizeof call.answer);
        threads[lane].state = State::READY;
    }
    waiting &= ~lanes;
}

void Warp::check_alike(unsigned lanes) const {
    const Thread *first = nullptr;
    for (unsigned lane = 0; lane < LANES; lane++) {
        if (!has(lanes, lane)) continue;
        const Thread &thread = threads[lane];
        if (!first) first = &thread;
        const WarpCall &a = *thread.call, &b = *first->call;
        if (a.mask != b.mask || a.kind != b.kind || a.size != b.size || !same_site(thread.site, first->site))
            fail_in_kernel("lanes that name each other wait in different calls: another is at " + text_of(first->site),
                           thread.index, thread.site);
    }
}

unsigned Warp::votes(unsigned lanes) const {
    unsigned votes = 0;
    for (unsigned lane = 0; lane < LANES; lane++)
        if (has(lanes, lane) && threads[lane].call->value[0]) votes |= 1u << lane;
    return votes;
}

} // namespace cuda_on_cpu
