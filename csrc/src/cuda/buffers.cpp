#include "gpubench/cuda/buffers.hpp"

#include <cstring>

#include "cuda/driver.hpp"
#include "cuda/unique_handle.hpp"
#include "gpubench/error.hpp"

namespace gpubench::cuda {
namespace {

using pinned_memory = unique_handle<void*, &driver::cuMemFreeHost>;
using device_memory = unique_handle<device_address, &driver::cuMemFree>;

void require_bytes(std::size_t bytes) {
  if (bytes == 0) throw invalid_argument("bytes is 0; a buffer has at least 1 byte");
}

std::shared_ptr<pinned_memory> allocate_pinned(int device, std::size_t bytes) {
  require_bytes(bytes);
  auto in_context = std::make_shared<const context>(device);
  const current_context current(*in_context);
  void* data = nullptr;
  load_driver().cuMemHostAlloc(&data, bytes, pinned_for_all_devices);
  pinned_memory memory(std::move(in_context), data);
  std::memset(data, 0, bytes);
  return std::make_shared<pinned_memory>(std::move(memory));
}

std::shared_ptr<device_memory> allocate_on_device(int device, std::size_t bytes) {
  require_bytes(bytes);
  auto in_context = std::make_shared<const context>(device);
  const current_context current(*in_context);
  device_address address = 0;
  load_driver().cuMemAlloc(&address, bytes);
  device_memory memory(std::move(in_context), address);
  return std::make_shared<device_memory>(std::move(memory));
}

}  // namespace

pinned_buffer::pinned_buffer(int device, std::size_t bytes) : bytes_(bytes) {
  const auto memory = allocate_pinned(device, bytes);
  data_ = {memory, static_cast<unsigned char*>(memory->get())};
}

device_buffer::device_buffer(int device, std::size_t bytes) : bytes_(bytes), device_(device) {
  const auto memory = allocate_on_device(device, bytes);
  address_ = memory->get();
  allocation_ = memory;
}

}  // namespace gpubench::cuda
