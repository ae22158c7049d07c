// For any processor. It enters the kernel of the operating system at every switch, some ten times slower than need be.
#include "context.h"
#include "failure.h"

#ifdef CUDA_ON_CPU_PORTABLE_CONTEXT
namespace cuda_on_cpu {

void prepare(Context &context, char *stack, std::size_t size, void (*body)()) {
    if (getcontext(&context) != 0) fail("getcontext failed");
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, body, 0);
}

void switch_context(Context &from, Context &to) {
    if (swapcontext(&from, &to) != 0) fail("swapcontext failed");
}

} // namespace cuda_on_cpu
#endif
