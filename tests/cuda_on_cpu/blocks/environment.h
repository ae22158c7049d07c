// The variables by which a program's run is set up.
#pragma once
#include <cstdint>
#include <string>

namespace cuda_on_cpu {

// `otherwise` where the variable is not set.
std::string variable(const char *name, const std::string &otherwise);
std::uint64_t number(const char *name, std::uint64_t otherwise);
// 1 says yes; 0, or nothing, says no.
bool is_wanted(const char *name);

} // namespace cuda_on_cpu
