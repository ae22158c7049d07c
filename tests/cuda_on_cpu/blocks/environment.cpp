#include "environment.h"
#include "failure.h"
#include <cstdlib>

namespace cuda_on_cpu {

std::string variable(const char *name, const std::string &otherwise) {
    const char *text = std::getenv(name);
    return text ? text : otherwise;
}

std::uint64_t number(const char *name, std::uint64_t otherwise) {
    const std::string text = variable(name, std::to_string(otherwise));
    if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos)
        fail(std::string(name) + " is not a number: " + text);
    return std::strtoull(text.c_str(), nullptr, 10);
}

bool is_wanted(const char *name) { return number(name, 0) != 0; }

} // namespace cuda_on_cpu
