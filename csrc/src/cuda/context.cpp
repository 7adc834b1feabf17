#include "cuda/context.hpp"

#include <string>

#include "gpubench/cuda/error.hpp"

namespace gpubench::cuda {

void require_device(int device) {
  int count = 0;
  load_driver().cuDeviceGetCount(&count);
  if (device >= 0 && device < count) return;
  const std::string there = count == 1 ? "cuda:0" : "cuda:0 to cuda:" + std::to_string(count - 1);
  throw unavailable(unavailable::reason::no_device,
                    "cuda:" + std::to_string(device) + " is not there; this machine has " + there);
}

context::context(int device) : device_(device) {
  require_device(device);
  const driver& api = load_driver();
  api.cuDeviceGet(&retained_, device);
  api.cuDevicePrimaryCtxRetain(&handle_, retained_);
}

context::~context() {
  if (const driver* const api = loaded_driver()) api->cuDevicePrimaryCtxRelease.attempt(retained_);
}

current_context::current_context(const context& made_current) {
  load_driver().cuCtxPushCurrent(made_current.handle());
}

current_context::~current_context() {
  CUctx_st* popped = nullptr;
  if (const driver* const api = loaded_driver()) api->cuCtxPopCurrent.attempt(&popped);
}

}  // namespace gpubench::cuda
