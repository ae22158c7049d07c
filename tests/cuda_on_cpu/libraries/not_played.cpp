#include "not_played.h"
#include "../blocks/failure.h"
#include <string>

namespace cuda_on_cpu {

int not_played(const char *name, int status) {
    say(std::string(name) + " is not played");
    return status;
}

} // namespace cuda_on_cpu
