// Memory that a device copies from and to.
#pragma once

#include <cstddef>

#include "gpubench/cuda/owned.hpp"

namespace gpubench::cuda {

// Page-locked memory of the host: copies from and to it run while the host does something else. It
// begins with zeros. Move-only.
class pinned_buffer {
 public:
  // Throws invalid_argument for 0 bytes, and cuda_error.
  pinned_buffer(const shared_context& on, std::size_t bytes);

  unsigned char* data() const noexcept { return static_cast<unsigned char*>(data_.get()); }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  owned<void*, &driver::cuMemFreeHost> data_;
  std::size_t bytes_;
};

// Memory of a device. Move-only.
class device_buffer {
 public:
  // Throws invalid_argument for 0 bytes, and cuda_error.
  device_buffer(const shared_context& on, std::size_t bytes);

  device_address address() const noexcept { return address_.get(); }
  std::size_t bytes() const noexcept { return bytes_; }
  int device() const noexcept { return address_.on().device(); }

 private:
  owned<device_address, &driver::cuMemFree> address_;
  std::size_t bytes_;
};

}  // namespace gpubench::cuda
