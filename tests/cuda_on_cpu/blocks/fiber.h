// A stack with its own flow of control, which hands over by itself. Only one runs at a time, and none ever ends: when
// there is nothing to do, they pause.
#pragma once
#include "context.h"

namespace cuda_on_cpu {

class Fiber {
public:
    // `body` must never return.
    explicit Fiber(void (*body)());
    Fiber(const Fiber &) = delete;

    // Runs the body until it pauses.
    void resume();
    // Called by the body of the fiber that runs.
    static void pause();
    static Fiber *running();

private:
    static void start();

    Context context;
    void (*body)();
    char *stack; // below it lie pages that must not be touched
    void *sanitizer_stack = nullptr;
};

} // namespace cuda_on_cpu
