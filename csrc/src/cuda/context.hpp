// The primary context of a device, shared with torch and with everything else in the process.
#pragma once

#include <memory>

#include "cuda/driver.hpp"

namespace gpubench::cuda {

// Keeps the primary context of a device alive.
//
// Thread-safety: every member is safe from any thread.
class context {
 public:
  // Throws unavailable for a device that is not there, and cuda_error.
  explicit context(int device);
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  int device() const noexcept { return device_; }
  CUctx_st* handle() const noexcept { return handle_; }

 private:
  int device_;        // its number
  int retained_ = 0;  // the driver's handle of it
  CUctx_st* handle_ = nullptr;
};

// Throws unavailable, with the devices that exist, unless `device` is one of them.
void require_device(int device);

// What owns something on a device holds its context.
using shared_context = std::shared_ptr<const context>;

// Makes a context current on this thread for a scope, and then what was current before.
class current_context {
 public:
  // Throws cuda_error.
  explicit current_context(const context& made_current);
  ~current_context();
  current_context(const current_context&) = delete;
  current_context& operator=(const current_context&) = delete;
};

}  // namespace gpubench::cuda
