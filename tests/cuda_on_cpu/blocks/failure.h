// What ends the process: a kernel that would not work on a device either.
#pragma once
#include "../language/site.h"
#include "../language/vectors.h"
#include <string>

namespace cuda_on_cpu {

std::string text_of(const Site &site);
bool same_site(const Site &a, const Site &b);

// A line on standard error, under the emulator's name.
void say(const std::string &what);
[[noreturn]] void fail(const std::string &what);
// `thread` of the block that runs now, which last waited at `site`.
[[noreturn]] void fail_in_kernel(const std::string &what, const uint3 &thread, const Site &site);

} // namespace cuda_on_cpu
