// A queue of work for a device.
#pragma once

#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// A stream that does not wait for the default stream, nor makes it wait. Move-only.
class stream {
 public:
  // Throws cuda_error.
  explicit stream(const shared_context& on);

  CUstream_st* handle() const noexcept { return handle_.get(); }

  // Whether the device has done all that the stream was given. Throws cuda_error.
  bool idle() const;

 private:
  unique_handle<CUstream_st*, &driver::cuStreamDestroy> handle_;
};

}  // namespace gpubench::cuda
