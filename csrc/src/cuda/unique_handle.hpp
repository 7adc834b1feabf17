// Ownership of handles of the CUDA driver.
#pragma once

#include <utility>

#include "cuda/context.hpp"
#include "cuda/driver.hpp"

namespace gpubench::cuda {

// Owns a handle and keeps its context alive. Move-only. The destructor calls `destroy`, a function
// of the driver, on any thread. It ignores errors, because nothing can be done about them.
template <class Handle, const function<Handle> driver::* destroy>
class unique_handle {
 public:
  unique_handle(shared_context in_context, Handle handle) noexcept
      : context_(std::move(in_context)), handle_(handle) {}
  unique_handle(unique_handle&& other) noexcept
      : context_(std::move(other.context_)), handle_(std::exchange(other.handle_, Handle{})) {}
  unique_handle& operator=(unique_handle&& other) noexcept {
    std::swap(context_, other.context_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~unique_handle() {
    if (handle_ == Handle{}) return;
    const driver* const api = loaded_driver();
    if (api == nullptr) return;  // in a forked child
    if (api->cuCtxPushCurrent.attempt(context_->handle()) != success) return;
    (api->*destroy).attempt(handle_);
    CUctx_st* popped = nullptr;
    api->cuCtxPopCurrent.attempt(&popped);
  }

  Handle get() const noexcept { return handle_; }

 private:
  shared_context context_;
  Handle handle_;
};

}  // namespace gpubench::cuda
