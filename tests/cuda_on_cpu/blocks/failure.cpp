#include "failure.h"
#include "launch.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cuda_on_cpu {

std::string text_of(const Site &site) { return std::string(site.file) + ":" + std::to_string(site.line); }

bool same_site(const Site &a, const Site &b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

static std::string text_of(const uint3 &index) {
    return std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z);
}

void say(const std::string &what) { std::fprintf(stderr, "cuda_on_cpu: %s\n", what.c_str()); }

void fail(const std::string &what) {
    say(what);
    std::abort();
}

void fail_in_kernel(const std::string &what, const uint3 &thread, const Site &site) {
    fail(text_of(site) + ": " + what + " (kernel " + name_of_running_kernel() + ", block " + text_of(blockIdx) +
         ", thread " + text_of(thread) + ")");
}

} // namespace cuda_on_cpu
