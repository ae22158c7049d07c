// The kernels that a program may launch, by name. build.sh writes one CUDA_ON_CPU_ENTRY for each.
#pragma once
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace cuda_on_cpu {

struct Entry {
    void (*call)(void *const *arguments); // as the thread that runs now
    std::vector<std::size_t> parameter_sizes;
    char *shared, *shared_end; // the shared memory that its file declares
};

// Kernels of different modules may have one name: their parameters tell them apart. Always true.
bool add_entry(const std::string &name, const Entry &entry);
std::vector<const Entry *> entries_named(const std::string &name);

template <auto kernel> struct Caller;

template <class... Parameters, void (*kernel)(Parameters...)> struct Caller<kernel> {
    static void call(void *const *arguments) { call(arguments, std::index_sequence_for<Parameters...>{}); }

    static std::vector<std::size_t> parameter_sizes() { return {sizeof(Parameters)...}; }

private:
    template <std::size_t... i> static void call(void *const *arguments, std::index_sequence<i...>) {
        (void)arguments; // unused by a kernel without parameters
        kernel(*static_cast<const std::remove_cv_t<Parameters> *>(arguments[i])...);
    }
};

} // namespace cuda_on_cpu

#ifdef CUDA_ON_CPU_UNIT
#define CUDA_ON_CPU_JOINED(a, b) a##b
#define CUDA_ON_CPU_JOIN(a, b) CUDA_ON_CPU_JOINED(a, b)
#define CUDA_ON_CPU_SHARED CUDA_ON_CPU_JOIN(__start_shared_of_, CUDA_ON_CPU_UNIT)
#define CUDA_ON_CPU_SHARED_END CUDA_ON_CPU_JOIN(__stop_shared_of_, CUDA_ON_CPU_UNIT)

// The linker's names for the ends of the section; null where no kernel of the file shares memory.
extern "C" __attribute__((weak, visibility("hidden"))) char CUDA_ON_CPU_SHARED[], CUDA_ON_CPU_SHARED_END[];

#define CUDA_ON_CPU_ENTRY(name)                                                                                        \
    static const bool added_##name = cuda_on_cpu::add_entry(                                                           \
        #name, {cuda_on_cpu::Caller<name>::call, cuda_on_cpu::Caller<name>::parameter_sizes(), CUDA_ON_CPU_SHARED,     \
                CUDA_ON_CPU_SHARED_END});
#endif
