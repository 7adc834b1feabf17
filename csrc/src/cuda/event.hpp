// A moment on a stream.
#pragma once

#include <cstdint>

#include "cuda/stream.hpp"
#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// An event that keeps the time. Move-only.
// REQUIRES: where it is used, its context is current.
class event {
 public:
  // Throws cuda_error.
  explicit event(const shared_context& on);

  CUevent_st* handle() const noexcept { return handle_.get(); }

  // Marks the end of what `on` was given so far. Throws cuda_error.
  void record(const stream& on) const;

  // Whether the device has come by. Throws cuda_error, also for the errors of earlier work.
  bool passed() const;

 private:
  unique_handle<CUevent_st*, &driver::cuEventDestroy> handle_;
};

// From one event to another; negative if `to` came first. Exact to about 0.5 us and to 6e-8 of the
// time between them, since the driver answers in a float: measure between neighbours.
// REQUIRES: both have passed. Throws cuda_error.
std::int64_t elapsed_ns(const event& from, const event& to);

}  // namespace gpubench::cuda
