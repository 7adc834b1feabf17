#include "cuda/driver.hpp"

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "cuda/driver_api.hpp"
#include "gpubench/cuda/error.hpp"
#include "gpubench/process.hpp"

namespace gpubench::cuda {
namespace {

constexpr const char* driver_library = "libcuda.so.1";
constexpr const char* test_variable = "GPUBENCH_TEST_CUDA_DRIVER";

const char* chosen_library() {
  const char* const for_tests = std::getenv(test_variable);
  return for_tests != nullptr ? for_tests : driver_library;
}

// The process that has loaded the driver, or is about to.
std::atomic<owner_process> loaded_in{owner_process::none()};

std::atomic<const driver*> loaded{nullptr};

// Called before the driver is loaded. If another thread forks meanwhile, the child must not wait
// for the thread that loads the driver, because the child does not have that thread.
void note_loading() {
  owner_process found = loaded_in;
  if (found.pid() == 0 && loaded_in.compare_exchange_strong(found, owner_process())) return;
  if (found.is_current()) return;
  throw unavailable(unavailable::reason::driver_error,
                    "CUDA does not survive fork, and process " + std::to_string(found.pid()) +
                        " had loaded the NVIDIA driver before; start processes that use a GPU with "
                        "the method 'spawn'");
}

// 12080 is CUDA 12.8.
std::string release(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

unavailable too_old(int version) {
  const std::string found = version > 0 ? "is for CUDA " + release(version) : "is too old";
  return unavailable(unavailable::reason::driver_too_old,
                     "the NVIDIA driver " + found +
                         " and gpubench needs one for CUDA 12.0 or newer; update the NVIDIA driver "
                         "(525.60 or newer)");
}

// The driver's text for `code`, or "unknown error".
std::string error_text(const function<int, const char**>& get_text, int code) {
  const char* text = nullptr;
  return get_text.attempt(code, &text) == success && text != nullptr ? text : "unknown error";
}

}  // namespace

library::library(const char* path) {
  void* const opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    const char* const why = dlerror();
    throw unavailable(unavailable::reason::no_driver,
                      "the NVIDIA driver cannot be loaded (" +
                          std::string(why != nullptr ? why : path) +
                          "); install it, or measure the CPU with --device cpu");
  }
  get_proc_address_ = reinterpret_cast<get_proc_address>(dlsym(opened, "cuGetProcAddress_v2"));
  if (get_proc_address_ == nullptr) {  // the function exists since CUDA 12.0
    const auto get_version = reinterpret_cast<int (*)(int*)>(dlsym(opened, "cuDriverGetVersion"));
    int version = 0;
    if (get_version != nullptr) get_version(&version);
    throw too_old(version);
  }
}

void* library::find_optional(const char* name, int version) const noexcept {
  void* found = nullptr;
  int status = 0;
  const int code = get_proc_address_(name, &found, version, legacy_stream, &status);
  return code == success ? found : nullptr;
}

void* library::find(const char* name, int version) const {
  void* const found = find_optional(name, version);
  if (found == nullptr) {
    throw unavailable(unavailable::reason::driver_too_old,
                      "the NVIDIA driver has no " + std::string(name) + " of CUDA " +
                          release(version) + "; update the NVIDIA driver (525.60 or newer)");
  }
  return found;
}

void throw_cuda_error(const char* call, int code) {
  const driver& api = load_driver();
  throw cuda_error(call, code, error_text(api.cuGetErrorName, code),
                   error_text(api.cuGetErrorString, code));
}

driver::driver(const char* path) : library_(path) {
  int version = 0;
  if (cuDriverGetVersion.attempt(&version) == success && version < 12000) throw too_old(version);
  const int code = cuInit.attempt(0);
  if (code == error_no_device) {
    throw unavailable(unavailable::reason::no_device,
                      "the NVIDIA driver is there and sees no GPU; look at nvidia-smi and "
                      "CUDA_VISIBLE_DEVICES, or measure the CPU with --device cpu");
  }
  if (code != success) {
    throw unavailable(
        unavailable::reason::driver_error,
        "the NVIDIA driver cannot be used: cuInit: " + error_text(cuGetErrorName, code) + " (" +
            std::to_string(code) + "): " + error_text(cuGetErrorString, code) +
            "; look at nvidia-smi, and reboot after a driver update");
  }
}

int driver::version() const {
  int version = 0;
  cuDriverGetVersion(&version);
  return version;
}

const driver& load_driver() {
  note_loading();
  try {
    static const driver only(chosen_library());
    loaded = &only;
    return only;
  } catch (...) {
    loaded_in = owner_process::none();
    throw;
  }
}

const driver* loaded_driver() noexcept {
  return loaded_in.load().is_current() ? loaded.load() : nullptr;
}

}  // namespace gpubench::cuda
