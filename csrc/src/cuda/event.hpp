// A time stamp on a stream.
#pragma once

#include <cstdint>

#include "cuda/stream.hpp"
#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// A CUDA event with timing. Move-only.
// REQUIRES: the context is current when a member is called.
class event {
 public:
  // Throws cuda_error.
  explicit event(const shared_context& in_context);

  CUevent_st* handle() const noexcept { return handle_.get(); }

  // The device executes the event after the work that the stream has now. Throws cuda_error.
  void record(const stream& on_stream) const;

  // Whether the device has executed the event. Throws cuda_error, also for errors of earlier work.
  bool passed() const;

 private:
  unique_handle<CUevent_st*, &driver::cuEventDestroy> handle_;
};

// The time from one event to another; negative if `to` was executed first. The error is about 0.5
// us plus 6e-8 of the time, because the driver returns a float. So measure between consecutive
// events. REQUIRES: the device has executed both. Throws cuda_error.
std::int64_t elapsed_ns(const event& from, const event& to);

}  // namespace gpubench::cuda
