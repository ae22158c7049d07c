// self_test CASE...: does one thing and says what came of it. self_test.sh knows what should.
#include "driver.h"
#include <cstdio>
#include <cstdlib>
#include <numeric>

static const unsigned THREADS = 64;

struct Args {
    DevicePointer in, out;
    int n;
};

static int launch(void *function, unsigned blocks, unsigned threads, unsigned shared, void *arguments) {
    void *parameters[] = {arguments};
    return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, nullptr, parameters, nullptr);
}

static void *kernel(const std::string &name, std::size_t parameter_size = sizeof(Args)) {
    int result;
    void *function = find(ptx(name, parameter_size, THREADS * sizeof(float), 0), name, result);
    must(result, "cuModuleGetFunction");
    return function;
}

static std::vector<float> counted(std::size_t n) {
    std::vector<float> values(n);
    std::iota(values.begin(), values.end(), 1.0f);
    return values;
}

static int judge(const std::vector<float> &got, const std::vector<float> &expected) {
    // Not-a-number is unlike everything.
    for (std::size_t i = 0; i < expected.size(); i++)
        if (!(got[i] == expected[i])) {
            std::printf("wrong: %g at %zu, where %g is right\n", got[i], i, expected[i]);
            return 1;
        }
    std::printf("right\n");
    return 0;
}

// Two blocks; the result is one value of each.
static int sums(const std::string &name, unsigned shared) {
    const std::vector<float> values = counted(2 * THREADS);
    Args args{to_device(values), empty(2), 0};
    must(launch(kernel(name), 2, THREADS, shared, &args), "cuLaunchKernel");
    const auto middle = values.begin() + THREADS;
    return judge(to_host(args.out, 2),
                 {std::accumulate(values.begin(), middle, 0.0f), std::accumulate(middle, values.end(), 0.0f)});
}

static int passes_on(const std::string &name) {
    const std::vector<float> values = counted(32);
    Args args{to_device(values), empty(32), 0};
    must(launch(kernel(name), 1, 32, 0, &args), "cuLaunchKernel");
    std::vector<float> expected = {values[0]};
    expected.insert(expected.end(), values.begin(), values.end() - 1);
    return judge(to_host(args.out, 32), expected);
}

// `reach`: an argument of the kernels that leave their memory.
static int runs(const std::string &name, unsigned blocks, int reach, unsigned shared) {
    Args args{to_device(counted(THREADS)), empty(THREADS), reach};
    must(launch(kernel(name), blocks, THREADS, shared, &args), "cuLaunchKernel");
    const std::vector<float> out = to_host(args.out, THREADS);
    std::printf("ran; out is %g, %g\n", out[0], out[1]);
    return 0;
}

static int warps(const std::string &name, unsigned threads) {
    DevicePointer out = empty(threads);
    must(launch(kernel(name, sizeof out), 1, threads, 0, &out), "cuLaunchKernel");
    return judge(to_host(out, threads), std::vector<float>(threads, 1.0f));
}

static int finds(const std::string &name, std::size_t parameter_size) {
    int result;
    find(ptx("sum", parameter_size, 0, 0), name, result);
    std::printf("result %d\n", result);
    return 0;
}

static int launches(unsigned blocks, unsigned threads, unsigned shared, int asked_for) {
    int result;
    void *function = find(ptx("sum", sizeof(Args), THREADS * sizeof(float), THREADS), "sum", result);
    must(result, "cuModuleGetFunction");
    if (asked_for) must(cuFuncSetAttribute(function, 8, asked_for), "cuFuncSetAttribute");
    Args args{to_device(counted(THREADS)), empty(1), 0};
    std::printf("result %d\n", launch(function, blocks, threads, shared, &args));
    return 0;
}

static int copies(std::size_t n, std::size_t from) {
    std::vector<float> values(2 * THREADS);
    const DevicePointer device = empty(THREADS);
    std::printf("result %d\n", cuMemcpyDtoH_v2(values.data(), device + from, n));
    return 0;
}

static int allocates(std::size_t first, std::size_t second) {
    DevicePointer a = 0, b = 0;
    std::size_t free = 0, total = 0;
    must(cuMemAlloc_v2(&a, first), "the first cuMemAlloc");
    const int result = cuMemAlloc_v2(&b, second);
    must(cuMemGetInfo_v2(&free, &total), "cuMemGetInfo");
    std::printf("result %d, %zu of %zu bytes free\n", result, free, total);
    return 0;
}

int main(int n, char **words) {
    const std::string which = n > 1 ? words[1] : "", name = n > 2 ? words[2] : "";
    const auto number = [&](int i) { return n > i ? std::atoi(words[i]) : 0; };
    begin();
    if (which == "sums") return sums(name, number(3));
    if (which == "passes-on") return passes_on(name);
    if (which == "runs") return runs(name, number(3), number(4), number(5));
    if (which == "warps") return warps(name, number(3));
    if (which == "finds") return finds(name, number(3));
    if (which == "launches") return launches(number(2), number(3), number(4), number(5));
    if (which == "copies") return copies(number(2), number(3));
    if (which == "allocates") return allocates(number(2), number(3));
    std::printf("no such case: %s\n", which.c_str());
    return 2;
}
