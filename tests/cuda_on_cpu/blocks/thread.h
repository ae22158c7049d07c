// What a block knows of one of its threads.
#pragma once
#include "../language/site.h"
#include "../language/vectors.h"
#include "fiber.h"

namespace cuda_on_cpu {

struct WarpCall;

enum class State { READY, AT_BARRIER, IN_WARP_CALL, DONE };

struct Thread {
    uint3 index;
    State state = State::READY;
    Fiber *fiber = nullptr;   // once it has begun, until it is done
    Site site = {"", 0};      // where it last waited
    WarpCall *call = nullptr; // the one in which it waits
};

} // namespace cuda_on_cpu
