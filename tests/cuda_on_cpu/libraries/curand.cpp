// cuRAND's uniform and normal numbers: of the right distribution and the same for the same seed, but not its numbers.
#include "../driver/api.h"
#include "../driver/memory.h"
#include "../driver/report.h"
#include <cmath>

using namespace cuda_on_cpu;

namespace {

// curandStatus_t, as far as it is returned here.
enum Status : int { DONE = 0, NO_GENERATOR = 101, ODD_LENGTH = 105, OUTSIDE_OF_MEMORY = 201 };

struct Generator {
    std::uint64_t seed = 0, next = 0;
    Stream *stream = nullptr;

    // Of the seed and the place in its sequence alone, so that an offset is a place as well. In (0, 1].
    double uniform() {
        std::uint64_t x = (seed ^ 0xd1b54a32d192ed03u) + 0x9e3779b97f4a7c15u * ++next;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
        return static_cast<double>((x >> 11) + 1) * 0x1p-53;
    }
};

template <class T> Status check(Generator *generator, T *out, std::size_t n) {
    if (!generator) return NO_GENERATOR;
    if (!is_inside(out, n * sizeof(T), "random numbers")) return OUTSIDE_OF_MEMORY;
    report().called("random numbers");
    return DONE;
}

template <class T> Status uniform(Generator *generator, T *out, std::size_t n) {
    if (const Status bad = check(generator, out, n)) return bad;
    for (std::size_t i = 0; i < n; i++) out[i] = static_cast<T>(generator->uniform());
    return DONE;
}

template <class T> Status normal(Generator *generator, T *out, std::size_t n, T mean, T deviation) {
    // Made in pairs, on a device as well.
    if (n % 2 != 0) return ODD_LENGTH;
    if (const Status bad = check(generator, out, n)) return bad;
    for (std::size_t i = 0; i < n; i += 2) {
        const double radius = std::sqrt(-2.0 * std::log(generator->uniform()));
        const double angle = 2.0 * M_PI * generator->uniform();
        out[i] = static_cast<T>(mean + deviation * radius * std::cos(angle));
        out[i + 1] = static_cast<T>(mean + deviation * radius * std::sin(angle));
    }
    return DONE;
}

} // namespace

API Status curandCreateGenerator(Generator **generator, int) {
    *generator = new Generator;
    return DONE;
}

API Status curandDestroyGenerator(Generator *generator) {
    delete generator;
    return DONE;
}

API Status curandSetPseudoRandomGeneratorSeed(Generator *generator, unsigned long long seed) {
    if (!generator) return NO_GENERATOR;
    generator->seed = seed;
    generator->next = 0;
    return DONE;
}

API Status curandSetGeneratorOffset(Generator *generator, unsigned long long offset) {
    if (!generator) return NO_GENERATOR;
    generator->next = offset;
    return DONE;
}

API Status curandSetStream(Generator *generator, Stream *stream) {
    if (!generator) return NO_GENERATOR;
    generator->stream = stream;
    return DONE;
}

API Status curandGenerateUniform(Generator *generator, float *out, std::size_t n) { return uniform(generator, out, n); }

API Status curandGenerateUniformDouble(Generator *generator, double *out, std::size_t n) {
    return uniform(generator, out, n);
}

API Status curandGenerateNormal(Generator *generator, float *out, std::size_t n, float mean, float deviation) {
    return normal(generator, out, n, mean, deviation);
}

API Status curandGenerateNormalDouble(Generator *generator, double *out, std::size_t n, double mean, double deviation) {
    return normal(generator, out, n, mean, deviation);
}
