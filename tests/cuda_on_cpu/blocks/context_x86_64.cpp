// For x86-64 under the System V calling convention.
#include "context.h"

#ifndef CUDA_ON_CPU_PORTABLE_CONTEXT

// A call has already saved what it may: these are the registers that it must find again. The return address lies above.
extern "C" void cuda_on_cpu_switch(void **left, void *entered);
asm(R"(
.pushsection .text
.hidden cuda_on_cpu_switch
.globl cuda_on_cpu_switch
.type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size cuda_on_cpu_switch, . - cuda_on_cpu_switch
.popsection
)");

namespace cuda_on_cpu {

static const int SAVED_REGISTERS = 6;

void prepare(Context &context, char *stack, std::size_t size, void (*body)()) {
    // What the switch will take from the stack: the registers and the address to return to, which is the body's. Above
    // it lies where the body would return to. So the stack is aligned as after a call.
    void **top = reinterpret_cast<void **>(stack + size);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(body);
    for (int i = 0; i < SAVED_REGISTERS; i++) *--top = nullptr;
    context.stack_pointer = top;
}

void switch_context(Context &from, Context &to) { cuda_on_cpu_switch(&from.stack_pointer, to.stack_pointer); }

} // namespace cuda_on_cpu
#endif
