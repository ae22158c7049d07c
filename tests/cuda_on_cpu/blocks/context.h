// A flow of control that has been left and can be gone on with: its stack, and the registers that it keeps there.
#pragma once
#include <cstddef>

#if !defined(__x86_64__) || defined(CUDA_ON_CPU_UCONTEXT)
#define CUDA_ON_CPU_PORTABLE_CONTEXT
#include <ucontext.h>
#endif

namespace cuda_on_cpu {

#ifdef CUDA_ON_CPU_PORTABLE_CONTEXT
using Context = ucontext_t;
#else
struct Context { void *stack_pointer; };
#endif

// `context` will start with `body`, which must never return.
void prepare(Context &context, char *stack, std::size_t size, void (*body)());
// Returns when another switch leads back to `from`.
void switch_context(Context &from, Context &to);

} // namespace cuda_on_cpu
