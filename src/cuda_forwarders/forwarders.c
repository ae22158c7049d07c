/* Stands in for NVIDIA's libraries when scVAE is linked, so that it loads where they are absent.
 *
 * Every function of functions.h is a jump through a pointer. The pointers lead to a function that
 * returns "not initialised" until load() has opened the libraries and found the real ones: that is
 * when scvae_cuda_missing() is asked or cuInit() is called, which CUDA wants before all else.
 * What is not found keeps returning its error. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define JUMP(pointer) "jmp *" pointer "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(pointer) \
  "adrp x16, " pointer "\nldr x16, [x16, :lo12:" pointer "]\nbr x16\n"
#else
#error "The CUDA backend is for x86-64 and 64-bit ARM."
#endif

/* These are the libraries' own codes for "not initialised" (NVRTC: "internal error"). */
static int cuda_absent(void) { return 3; }
static int cublas_absent(void) { return 1; }
static int cublasLt_absent(void) { return 1; }
static int curand_absent(void) { return 101; }
static int nvrtc_absent(void) { return 11; }

/* Hidden: the real libraries, opened later, must not find these in place of their own. */
#define FUNCTION(library, name)                                             \
  static int (*to_##name)(void) __attribute__((used)) = library##_absent;   \
  __asm__(".pushsection .text\n.globl " #name "\n.hidden " #name "\n.type " \
          #name ", %function\n" #name ":\n" JUMP("to_" #name) ".size " #name \
          ", . - " #name "\n.popsection\n");
#include "functions.h"
#undef FUNCTION

/* In the order of opening: cuBLAS then finds the cuBLASLt that lies beside it. */
static struct library {
  const char *name;
  int newest, oldest; /* versions; newest 0: that of the driver's CUDA */
  int needed;
  void *handle;
} cuda = {"libcuda.so.%d", 1, 1, 1, NULL}, cublasLt = {"libcublasLt.so.%d", 0, 11, 0, NULL},
  cublas = {"libcublas.so.%d", 0, 11, 1, NULL}, curand = {"libcurand.so.%d", 10, 10, 1, NULL},
  nvrtc = {"libnvrtc.so.%d", 0, 12, 0, NULL},
  *const libraries[] = {&cuda, &cublasLt, &cublas, &curand, &nvrtc};
#define LIBRARIES (sizeof libraries / sizeof *libraries)

static const struct {
  struct library *library;
  const char *name;
  int (**to)(void);
} functions[] = {
#define FUNCTION(library, name) {&library, #name, &to_##name},
#include "functions.h"
#undef FUNCTION
};

static int (*real_cuInit)(unsigned);
static char missing[512];
static int driver_version;

/* Tried where dlopen() looks by itself (LD_LIBRARY_PATH, the system's list) and then in folders. */
static void *open_version(const struct library *library, int version) {
  static const struct {
    const char *variable, *folder;
  } places[] = {{"CUDA_HOME", "lib64"},
                {"CUDA_HOME", "lib"},
                {"CUDA_PATH", "lib64"},
                {"CUDA_PATH", "lib"},
                {"CONDA_PREFIX", "lib"},
                {NULL, "/usr/local/cuda/lib64"},
                {NULL, "/opt/cuda/lib64"}};
  char file[64], path[4096];
  snprintf(file, sizeof file, library->name, version);
  void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  for (size_t i = 0; !handle && i < sizeof places / sizeof *places; ++i) {
    const char *root = places[i].variable ? getenv(places[i].variable) : "";
    if (!root || (places[i].variable && !*root)) continue;
    snprintf(path, sizeof path, "%s%s%s/%s", root, *root ? "/" : "", places[i].folder, file);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  return handle;
}

static void say(const char *separator, const char *format, int a, int b) {
  size_t length = 0;
  while (missing[length]) ++length;
  if (length) length += snprintf(missing + length, sizeof missing - length, "%s", separator);
  snprintf(missing + length, sizeof missing - length, format, a, b);
}

static void load_once(void) {
  for (size_t i = 0; i < LIBRARIES; ++i) {
    struct library *library = libraries[i];
    int newest = library->newest;
    /* A library that is newer than the driver opens, but does not work. */
    if (!newest) newest = (driver_version ? driver_version : SCVAE_CUDA_VERSION) / 1000;
    for (int version = newest; version >= library->oldest && !library->handle; --version)
      library->handle = open_version(library, version);
    if (!library->handle && library->needed)
      say(", ", library == &cuda ? "libcuda.so.%d (the NVIDIA driver)" : library->name, newest, 0);
    if (library == &cuda && cuda.handle) {
      int (*version)(int *) = (int (*)(int *))dlsym(cuda.handle, "cuDriverGetVersion");
      if (version) version(&driver_version);
    }
  }
  /* The kernels are kept as text for the driver to compile, in the language of the CUDA that the
   * package was built with. */
  if (driver_version && driver_version < SCVAE_CUDA_VERSION) {
    say(", ", "an NVIDIA driver for CUDA %d.%d", SCVAE_CUDA_VERSION / 1000,
        SCVAE_CUDA_VERSION % 1000 / 10);
    say(" ", "(this one is for CUDA %d.%d)", driver_version / 1000, driver_version % 1000 / 10);
  }

  for (size_t i = 0; i < sizeof functions / sizeof *functions; ++i) {
    void *handle = functions[i].library->handle;
    int (*found)(void) = handle ? (int (*)(void))dlsym(handle, functions[i].name) : NULL;
    if (found) *functions[i].to = found;
  }
  if (cuda.handle) real_cuInit = (int (*)(unsigned))dlsym(cuda.handle, "cuInit");
}

static void load(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load_once);
}

__attribute__((visibility("hidden"))) int cuInit(unsigned flags) {
  load();
  return real_cuInit ? real_cuInit(flags) : cuda_absent();
}

/* NULL when a GPU can be asked for; else what is missing for that, to be put into a message. */
__attribute__((visibility("hidden"))) const char *scvae_cuda_missing(void) {
  load();
  return *missing ? missing : NULL;
}

/* Of CUDA, as the driver counts them: 13000 for 13.0. The driver's is 0 where there is none. */
__attribute__((visibility("hidden"))) void scvae_cuda_versions(int *toolkit, int *driver) {
  load();
  *toolkit = SCVAE_CUDA_VERSION;
  *driver = driver_version;
}
