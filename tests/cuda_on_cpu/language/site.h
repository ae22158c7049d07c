// A line of a kernel's source, for what is said about it.
#pragma once

namespace cuda_on_cpu {

struct Site {
    const char *file;
    int line;

    // As a default argument it names the place of the call.
    static constexpr Site here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

} // namespace cuda_on_cpu
