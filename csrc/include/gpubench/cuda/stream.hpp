// A queue of work for a device.
#pragma once

#include "gpubench/cuda/context.hpp"

namespace gpubench::cuda {

// A stream that does not wait for the default stream, nor makes it wait. Move-only.
class stream {
 public:
  // Throws cuda_error.
  explicit stream(shared_context on);
  ~stream();
  stream(stream&& other) noexcept;
  stream& operator=(stream&& other) noexcept;

  CUstream_st* handle() const noexcept { return handle_; }

 private:
  shared_context context_;
  CUstream_st* handle_ = nullptr;
};

}  // namespace gpubench::cuda
