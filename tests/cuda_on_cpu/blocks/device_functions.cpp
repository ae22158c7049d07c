// Where the functions that kernels call meet the block that runs.
#include "../language/threads.h"
#include "../language/warps.h"
#include "block.h"
#include <cstring>

namespace cuda_on_cpu {

void wait_for_block(Site site) { Block::running()->wait_for_block(site); }

int lane() { return static_cast<int>(Block::running()->lane()); }

void shuffle(unsigned mask, void *value, unsigned size, int source, Site site) {
    WarpCall call{WarpCall::SHUFFLE, mask, size, source, {}, {}};
    std::memcpy(call.value, value, size);
    Block::running()->wait_for_warp(call, site);
    std::memcpy(value, call.answer, size);
}

unsigned ballot(unsigned mask, bool vote, Site site) {
    WarpCall call{WarpCall::BALLOT, mask, 1, 0, {vote}, {}};
    Block::running()->wait_for_warp(call, site);
    unsigned votes;
    std::memcpy(&votes, call.answer, sizeof votes);
    return votes;
}

void wait_for_warp(unsigned mask, Site site) {
    WarpCall call{WarpCall::WAIT, mask, 0, 0, {}, {}};
    Block::running()->wait_for_warp(call, site);
}

} // namespace cuda_on_cpu
