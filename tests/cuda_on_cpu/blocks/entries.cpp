#include "../language/entries.h"
#include "failure.h"
#include <map>

namespace cuda_on_cpu {

// Filled before main, by files in no certain order.
static std::multimap<std::string, Entry> &entries() {
    static auto *all = new std::multimap<std::string, Entry>;
    return *all;
}

bool add_entry(const std::string &name, const Entry &entry) {
    for (const Entry *other : entries_named(name))
        if (other->parameter_sizes == entry.parameter_sizes) fail("two kernels of like parameters are called " + name);
    entries().emplace(name, entry);
    return true;
}

std::vector<const Entry *> entries_named(const std::string &name) {
    std::vector<const Entry *> named;
    const auto range = entries().equal_range(name);
    for (auto at = range.first; at != range.second; ++at) named.push_back(&at->second);
    return named;
}

} // namespace cuda_on_cpu
