#include "gpubench/cuda/context.hpp"

#include "gpubench/cuda/device.hpp"

namespace gpubench::cuda {

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
