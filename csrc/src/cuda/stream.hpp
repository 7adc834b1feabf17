// A CUDA stream.
#pragma once

#include "cuda/unique_handle.hpp"

namespace gpubench::cuda {

// A stream that is not synchronised with the default stream (CU_STREAM_NON_BLOCKING). Move-only.
class stream {
 public:
  // Throws cuda_error.
  explicit stream(const shared_context& in_context);

  CUstream_st* handle() const noexcept { return handle_.get(); }

  // Whether the device has finished all work of the stream. Throws cuda_error.
  bool idle() const;

 private:
  unique_handle<CUstream_st*, &driver::cuStreamDestroy> handle_;
};

}  // namespace gpubench::cuda
