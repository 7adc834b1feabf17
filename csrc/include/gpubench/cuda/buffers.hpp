// Memory that a device copies from and to.
#pragma once

#include <cstddef>
#include <memory>

namespace gpubench::cuda {

// An address in the memory of a device: CUdeviceptr.
using device_address = unsigned long long;

// Page-locked (pinned) memory of the host: the device copies from and to it while the host does
// something else. All bytes are 0 at first. Move-only.
class pinned_buffer {
 public:
  // Throws invalid_argument for 0 bytes, unavailable for a device that does not exist, and
  // cuda_error.
  pinned_buffer(int device, std::size_t bytes);
  pinned_buffer(pinned_buffer&&) noexcept = default;
  pinned_buffer& operator=(pinned_buffer&&) noexcept = default;

  unsigned char* data() const noexcept { return data_.get(); }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::shared_ptr<unsigned char> data_;
  std::size_t bytes_;
};

// Memory of a device. Move-only.
class device_buffer {
 public:
  // Throws what pinned_buffer() throws.
  device_buffer(int device, std::size_t bytes);
  device_buffer(device_buffer&&) noexcept = default;
  device_buffer& operator=(device_buffer&&) noexcept = default;

  device_address address() const noexcept { return address_; }
  std::size_t bytes() const noexcept { return bytes_; }
  int device() const noexcept { return device_; }

 private:
  std::shared_ptr<const void> allocation_;
  device_address address_;
  std::size_t bytes_;
  int device_;
};

}  // namespace gpubench::cuda
