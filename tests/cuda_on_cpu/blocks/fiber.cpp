#include "fiber.h"
#include "failure.h"
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_on_cpu {

// Memory is taken only where the stack is touched.
static const std::size_t STACK = 256 << 10, GUARD = 64 << 10;
// Stacks begin at different places of their pages, or all would compete for the same few lines of the cache.
static const std::size_t SKEW = 1088, MOST_SKEW = 64 << 10;

static Fiber *now;
// Whoever resumed it: the thread of the program that launched the kernel.
static Context resumer;

// The sanitizer has to be told which stack is in use.
#ifdef __SANITIZE_ADDRESS__
static const void *resumer_stack;
static std::size_t resumer_stack_size;

static void leave(void **own, const void *bottom, std::size_t size) {
    __sanitizer_start_switch_fiber(own, bottom, size);
}
static void arrive_in_fiber(void *own) {
    __sanitizer_finish_switch_fiber(own, &resumer_stack, &resumer_stack_size);
}
static void arrive_in_resumer(void *own) { __sanitizer_finish_switch_fiber(own, nullptr, nullptr); }
#else
static const void *resumer_stack;
static std::size_t resumer_stack_size;

static void leave(void **, const void *, std::size_t) {}
static void arrive_in_fiber(void *) {}
static void arrive_in_resumer(void *) {}
#endif

Fiber::Fiber(void (*body)()) : body(body) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, GUARD, PROT_NONE) != 0) fail("no memory for the stack of a thread");
    static std::size_t n_made;
    stack = static_cast<char *>(memory) + GUARD;
    prepare(context, stack, STACK - n_made++ * SKEW % MOST_SKEW, start);
}

Fiber *Fiber::running() { return now; }

void Fiber::start() {
    arrive_in_fiber(nullptr);
    now->body();
    fail("the body of a fiber has returned");
}

void Fiber::resume() {
    now = this;
    void *own = nullptr;
    leave(&own, stack, STACK);
    switch_context(resumer, context);
    arrive_in_resumer(own);
    now = nullptr;
}

void Fiber::pause() {
    Fiber *const fiber = now;
    leave(&fiber->sanitizer_stack, resumer_stack, resumer_stack_size);
    switch_context(fiber->context, resumer);
    arrive_in_fiber(fiber->sanitizer_stack);
}

} // namespace cuda_on_cpu
