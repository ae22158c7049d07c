// What the program has asked of the device. CUDA_ON_CPU_REPORT=1 prints it when the program ends.
#pragma once
#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace cuda_on_cpu {

class Report {
public:
    enum Way { TO_DEVICE, TO_HOST, WITHIN, WAYS };

    void allocated(std::size_t bytes, std::size_t now_in_use);
    void freed();
    void copied(Way way, std::size_t bytes);
    void launched(const std::string &kernel);
    // A product of matrices, or random numbers.
    void called(const std::string &library_function);
    void print();

private:
    std::mutex mutex;
    std::size_t allocations = 0, frees = 0, bytes_allocated = 0, most_in_use = 0;
    std::size_t copies[WAYS] = {}, bytes_copied[WAYS] = {};
    std::size_t launches = 0;
    std::map<std::string, std::size_t> of_kernel, of_function;
};

Report &report();

} // namespace cuda_on_cpu
