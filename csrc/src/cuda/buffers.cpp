#include "gpubench/cuda/buffers.hpp"

#include <cstring>

#include "gpubench/error.hpp"

namespace gpubench::cuda {
namespace {

void require_bytes(std::size_t bytes) {
  if (bytes == 0) throw invalid_argument("bytes is 0; a buffer has at least 1 byte");
}

void* pin(const context& on, std::size_t bytes) {
  require_bytes(bytes);
  const current_context current(on);
  void* data = nullptr;
  load_driver().cuMemHostAlloc(&data, bytes, pinned_for_all_devices);
  std::memset(data, 0, bytes);
  return data;
}

device_address allocate(const context& on, std::size_t bytes) {
  require_bytes(bytes);
  const current_context current(on);
  device_address address = 0;
  load_driver().cuMemAlloc(&address, bytes);
  return address;
}

}  // namespace

pinned_buffer::pinned_buffer(const shared_context& on, std::size_t bytes)
    : data_(on, pin(*on, bytes)), bytes_(bytes) {}

device_buffer::device_buffer(const shared_context& on, std::size_t bytes)
    : address_(on, allocate(*on, bytes)), bytes_(bytes) {}

}  // namespace gpubench::cuda
