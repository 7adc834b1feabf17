// Memory that a device copies from and to.
#pragma once

#include <cstddef>

#include "gpubench/cuda/context.hpp"

namespace gpubench::cuda {

// Page-locked memory of the host, which copies to and from a device run through while the host does
// something else. Its first contents are zeros. Move-only.
class pinned_buffer {
 public:
  // Throws invalid_argument for 0 bytes, and cuda_error.
  pinned_buffer(shared_context on, std::size_t bytes);
  ~pinned_buffer();
  pinned_buffer(pinned_buffer&& other) noexcept;
  pinned_buffer& operator=(pinned_buffer&& other) noexcept;

  unsigned char* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  shared_context context_;
  unsigned char* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Memory of a device. Move-only.
class device_buffer {
 public:
  // Throws invalid_argument for 0 bytes, and cuda_error.
  device_buffer(shared_context on, std::size_t bytes);
  ~device_buffer();
  device_buffer(device_buffer&& other) noexcept;
  device_buffer& operator=(device_buffer&& other) noexcept;

  device_address address() const noexcept { return address_; }
  std::size_t bytes() const noexcept { return bytes_; }
  int device() const noexcept { return context_->device(); }

 private:
  shared_context context_;
  device_address address_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace gpubench::cuda
