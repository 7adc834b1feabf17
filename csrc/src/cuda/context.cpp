#include "gpubench/cuda/context.hpp"

#include "gpubench/cuda/device.hpp"

namespace gpubench::cuda {

context::context(int device) : device_(device) {
  require_device(device);
  load_driver().cuDevicePrimaryCtxRetain(&handle_, device);
}

context::~context() {
  load_driver().cuDevicePrimaryCtxRelease.attempt(device_);
}

current_context::current_context(const context& made_current) {
  load_driver().cuCtxPushCurrent(made_current.handle());
}

current_context::~current_context() {
  CUctx_st* popped = nullptr;
  load_driver().cuCtxPopCurrent.attempt(&popped);
}

}  // namespace gpubench::cuda
