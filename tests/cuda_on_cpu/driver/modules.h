// Modules, and the functions that a program has found in them.
#pragma once
#include "../language/entries.h"
#include "ptx.h"
#include <map>
#include <memory>
#include <string>

namespace cuda_on_cpu {

struct Function {
    std::string name;
    const Entry *entry; // what g++ made of it
    PtxEntry ptx;       // what nvcc made of it
    std::size_t max_dynamic_bytes;
};

struct Module {
    std::map<std::string, PtxEntry> entries;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

} // namespace cuda_on_cpu
