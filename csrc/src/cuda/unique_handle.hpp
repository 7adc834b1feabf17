// What has to be given back to the driver.
#pragma once

#include <utility>

#include "cuda/context.hpp"
#include "cuda/driver.hpp"

namespace gpubench::cuda {

// A handle and the context that it belongs to. Move-only; the end of its life gives the handle
// back, on any thread. Errors go unheard: nobody is left who could act on them.
template <class Handle, const function<Handle> driver::* give_back>
class unique_handle {
 public:
  unique_handle(shared_context on, Handle handle) noexcept
      : context_(std::move(on)), handle_(handle) {}
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
    (api->*give_back).attempt(handle_);
    CUctx_st* popped = nullptr;
    api->cuCtxPopCurrent.attempt(&popped);
  }

  Handle get() const noexcept { return handle_; }
  const context& on() const noexcept { return *context_; }

 private:
  shared_context context_;
  Handle handle_;
};

}  // namespace gpubench::cuda
