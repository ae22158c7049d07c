// A module is PTX, the very text that a device would get. Nothing of it is run; but a kernel is found only if the text
// has it, and only if the text and the source that g++ compiled agree on its parameters.
#include "modules.h"
#include "../blocks/failure.h"
#include "api.h"
#include "limits.h"
#include <fstream>
#include <mutex>
#include <sstream>

using namespace cuda_on_cpu;

static std::mutex mutex;

static Result load(Module **module, const std::string &text) {
    auto loaded = std::make_unique<Module>();
    if (!read_ptx(text, loaded->entries)) {
        say("a module that is not PTX");
        return INVALID_IMAGE;
    }
    *module = loaded.release();
    return SUCCESS;
}

static std::string text_of(const std::vector<std::size_t> &sizes) {
    std::string text;
    for (const std::size_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
    return "[" + text + "]";
}

// What g++ has made of the kernel; null, with the reason said, if there is nothing that fits its PTX.
static const Entry *compiled(const char *name, const PtxEntry &ptx) {
    const auto candidates = entries_named(name);
    if (candidates.empty()) say(std::string("not compiled for the processor: ") + name);
    for (const Entry *entry : candidates)
        if (entry->parameter_sizes == ptx.parameter_sizes) return entry;
    for (const Entry *entry : candidates)
        say(std::string("the parameters of ") + name + " are of " + text_of(ptx.parameter_sizes) +
            " bytes in the PTX and of " + text_of(entry->parameter_sizes) + " in the source");
    return nullptr;
}

API Result cuModuleLoadData(Module **module, const void *image) {
    return has_context() ? load(module, static_cast<const char *>(image)) : INVALID_CONTEXT;
}

API Result cuModuleLoad(Module **module, const char *path) {
    if (!has_context()) return INVALID_CONTEXT;
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return load(module, text.str());
}

API Result cuModuleUnload(Module *module) {
    delete module;
    return SUCCESS;
}

API Result cuModuleGetFunction(Function **function, Module *module, const char *name) {
    const auto ptx = module->entries.find(name);
    if (ptx == module->entries.end()) {
        say(std::string("the module has no kernel ") + name);
        return NOT_FOUND;
    }
    const Entry *entry = compiled(name, ptx->second);
    if (!entry) return entries_named(name).empty() ? NOT_FOUND : INVALID_IMAGE;
    const std::size_t shared = ptx->second.shared_bytes;
    if (shared > MAX_SHARED) {
        say(std::string(name) + " declares " + std::to_string(shared) + " bytes of shared memory");
        return INVALID_PTX;
    }
    const std::lock_guard<std::mutex> guard(mutex);
    auto &found = module->functions[name];
    if (!found) found = std::make_unique<Function>(Function{name, entry, ptx->second, MAX_SHARED - shared});
    *function = found.get();
    return SUCCESS;
}
