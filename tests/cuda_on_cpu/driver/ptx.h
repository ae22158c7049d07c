// What the text of a PTX module says of its kernels.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace cuda_on_cpu {

struct PtxEntry {
    std::vector<std::size_t> parameter_sizes;
    std::size_t shared_bytes = 0; // that it declares itself
    std::size_t max_threads = 0;  // of a block; zero where it does not say
};

// False where the text is not PTX. `.func`s and all else are passed over.
bool read_ptx(const std::string &text, std::map<std::string, PtxEntry> &entries);

} // namespace cuda_on_cpu
