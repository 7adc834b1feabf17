// The primary context of a device. torch and all other code of the process use the same context.
#pragma once

#include <memory>

#include "cuda/driver.hpp"

namespace gpubench::cuda {

// Keeps the primary context of a device alive.
//
// Thread-safety: every member is thread-safe.
class context {
 public:
  // Throws unavailable for a device that does not exist, and cuda_error.
  explicit context(int device);
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  int device() const noexcept { return device_; }
  CUctx_st* handle() const noexcept { return handle_; }

 private:
  int device_;        // the number of the device
  int retained_ = 0;  // the driver's handle of the device
  CUctx_st* handle_ = nullptr;
};

// Throws unavailable, with the devices that exist, unless `device` is one of them.
void require_device(int device);

// Every owner of an object on a device keeps the context alive.
using shared_context = std::shared_ptr<const context>;

// Makes a context current on this thread. The destructor restores the previous one.
class current_context {
 public:
  // Throws cuda_error.
  explicit current_context(const context& made_current);
  ~current_context();
  current_context(const current_context&) = delete;
  current_context& operator=(const current_context&) = delete;
};

}  // namespace gpubench::cuda
