#include "cuda/input_copies.hpp"

#include <cstdint>

#include "cuda/driver.hpp"
#include "cuda/driver_api.hpp"

namespace gpubench::cuda {
namespace {

device_address on_host(const unsigned char* data) {
  return reinterpret_cast<std::uintptr_t>(data);
}

}  // namespace

input_copies::input_copies(const payloads& inputs, const graph_slot& slot, std::size_t requests)
    : inputs_(inputs), requests_(requests) {
  const std::vector<std::size_t> offsets = inputs.offsets(requests);
  const auto end_of = [&](std::size_t tensor) {
    return offsets[tensor] + inputs.tensor_bytes(tensor) * requests;
  };
  // Neighbouring tensors that are gathered are one copy.
  for (std::size_t tensor = 0; tensor < inputs.tensors(); ++tensor) {
    if (!inputs.gathers(tensor, requests)) continue;
    const std::size_t first = tensor;
    while (tensor + 1 < inputs.tensors() && inputs.gathers(tensor + 1, requests)) ++tensor;
    add(slot.device_input + offsets[first], on_host(slot.host_input->data()) + offsets[first],
        end_of(tensor) - offsets[first]);
  }
  first_of_payloads_ = to_.size();
  if (!inputs.pinned()) return;
  if (requests == 1) {  // the payload is the arena
    payload_offsets_ = {0};
    add(slot.device_input, 0, inputs.arena_bytes(1));
    return;
  }
  const std::vector<std::size_t> offsets_of_one = inputs.offsets(1);
  for (std::size_t tensor = 0; tensor < inputs.tensors(); ++tensor) {
    if (inputs.gathers(tensor, requests)) continue;
    payload_offsets_.push_back(offsets_of_one[tensor]);
    const std::size_t bytes = inputs.tensor_bytes(tensor);
    for (std::size_t place = 0; place < requests; ++place) {
      add(slot.device_input + offsets[tensor] + place * bytes, 0, bytes);
    }
  }
}

void input_copies::add(device_address to, device_address from, std::size_t bytes) {
  if (bytes == 0) return;
  to_.push_back(to);
  from_.push_back(from);
  bytes_.push_back(bytes);
}

void input_copies::enqueue(const request* requests, std::size_t size, std::size_t turn,
                           CUstream_st* stream) {
  std::size_t copy = first_of_payloads_;
  for (const std::size_t offset : payload_offsets_) {
    for (std::size_t place = 0, next = 0; place < requests_; ++place) {
      from_[copy++] = on_host(inputs_.arena_of(requests[next], turn) + offset);
      if (++next == size) next = 0;
    }
  }
  const driver& api = load_driver();
  if (to_.size() > 1 && api.cuMemcpyBatchAsync.available()) {
    copy_attributes attributes{};
    attributes.source_access_order = source_access_in_stream_order;
    std::size_t first_with_attributes = 0;
    std::size_t failed = 0;
    api.cuMemcpyBatchAsync(to_.data(), from_.data(), bytes_.data(), to_.size(), &attributes,
                           &first_with_attributes, 1, &failed, stream);
    return;
  }
  for (std::size_t i = 0; i < to_.size(); ++i) {
    api.cuMemcpyHtoDAsync(to_[i], reinterpret_cast<const void*>(from_[i]), bytes_[i], stream);
  }
}

}  // namespace gpubench::cuda
