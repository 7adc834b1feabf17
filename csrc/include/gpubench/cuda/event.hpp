// A moment on a stream.
#pragma once

#include <cstdint>

#include "gpubench/cuda/context.hpp"
#include "gpubench/cuda/stream.hpp"

namespace gpubench::cuda {

// An event that keeps the time. Move-only. The context must be current on the calling thread.
class event {
 public:
  // Throws cuda_error.
  explicit event(shared_context on);
  ~event();
  event(event&& other) noexcept;
  event& operator=(event&& other) noexcept;

  // Marks the end of what `on` was given so far. Throws cuda_error.
  void record(const stream& on);

  // Whether the device has come by. Throws cuda_error for an error of the context, whoever caused
  // it.
  bool passed() const;

  CUevent_st* handle() const noexcept { return handle_; }

 private:
  shared_context context_;
  CUevent_st* handle_ = nullptr;
};

// From one event to another; negative if `to` came first. Exact to about 0.5 us, and to 6e-8 of the
// time between them, since the driver answers in a float: measure between neighbours.
// REQUIRES: both have passed. Throws cuda_error.
std::int64_t elapsed_ns(const event& from, const event& to);

}  // namespace gpubench::cuda
