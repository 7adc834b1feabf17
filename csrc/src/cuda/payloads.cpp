#include "gpubench/cuda/payloads.hpp"

#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "cuda/driver.hpp"
#include "gpubench/error.hpp"

namespace gpubench::cuda {
namespace {

// The alignment of cudaMalloc, so that kernels can use their widest loads.
constexpr std::size_t alignment = 256;

std::size_t aligned(std::size_t bytes) {
  return (bytes + alignment - 1) / alignment * alignment;
}

// From these sizes of a tensor on, the device copies the tensors of 8 or more joined requests from
// pinned memory faster than the CPU can gather them for one copy. Measured on an H100 (PCIe 5,
// driver 580); docs/cuda.md has the figures.
constexpr std::size_t least_copied_with_one_call = 8 << 10;  // cuMemcpyBatchAsync
constexpr std::size_t least_copied_one_by_one = 24 << 10;    // cuMemcpyHtoDAsync

}  // namespace

payloads::payloads(std::vector<std::size_t> tensor_bytes, const std::vector<unsigned char>& data)
    : tensor_bytes_(std::move(tensor_bytes)) {
  lay_out(data.size());
  ordinary_.resize(count_ * stride_);
  store(ordinary_.data(), data);
}

payloads::payloads(std::vector<std::size_t> tensor_bytes, const std::vector<unsigned char>& data,
                   int device)
    : tensor_bytes_(std::move(tensor_bytes)) {
  lay_out(data.size());
  pinned_.emplace(device, count_ * stride_);
  least_copied_bytes_ = load_driver().cuMemcpyBatchAsync.available() ? least_copied_with_one_call
                                                                     : least_copied_one_by_one;
  store(pinned_->data(), data);
}

void payloads::lay_out(std::size_t data_bytes) {
  const std::size_t request_bytes =
      std::accumulate(tensor_bytes_.begin(), tensor_bytes_.end(), std::size_t{0});
  if (request_bytes == 0) {
    throw invalid_argument("the requests bring no bytes; give at least one input tensor");
  }
  count_ = data_bytes / request_bytes;
  if (count_ == 0 || data_bytes % request_bytes != 0) {
    throw invalid_argument("the payloads have " + std::to_string(data_bytes) +
                           " bytes, which is no multiple of the " + std::to_string(request_bytes) +
                           " of one request; give whole requests");
  }
  offsets_of_one_ = offsets(1);
  stride_ = aligned(arena_bytes(1));
}

void payloads::store(unsigned char* to, const std::vector<unsigned char>& data) {
  data_ = to;
  const unsigned char* from = data.data();
  for (std::size_t number = 0; number < count_; ++number, to += stride_) {
    for (std::size_t tensor = 0; tensor < tensors(); from += tensor_bytes_[tensor++]) {
      std::memcpy(to + offsets_of_one_[tensor], from, tensor_bytes_[tensor]);
    }
  }
}

std::vector<std::size_t> payloads::offsets(std::size_t requests) const {
  std::vector<std::size_t> begins;
  std::size_t end = 0;
  for (const std::size_t bytes : tensor_bytes_) {
    begins.push_back(aligned(end));
    end = begins.back() + bytes * requests;
  }
  return begins;
}

std::size_t payloads::arena_bytes(std::size_t requests) const {
  return offsets(requests).back() + tensor_bytes_.back() * requests;
}

bool payloads::gathers(std::size_t most_requests) const noexcept {
  for (std::size_t tensor = 0; tensor < tensors(); ++tensor) {
    if (gathers(tensor, most_requests)) return true;
  }
  return false;
}

void payloads::fill(unsigned char* arena, std::size_t batch_size, const request* requests,
                    std::size_t size, std::size_t turn) const noexcept {
  std::size_t begin = 0;  // offset of the tensor in the arena
  for (std::size_t tensor = 0; tensor < tensors(); ++tensor) {
    const std::size_t bytes = tensor_bytes_[tensor];
    unsigned char* target = arena + aligned(begin);
    begin = aligned(begin) + bytes * batch_size;
    if (!gathers(tensor, batch_size)) continue;
    for (std::size_t place = 0, next = 0; place < batch_size; ++place, target += bytes) {
      std::memcpy(target, arena_of(requests[next], turn) + offsets_of_one_[tensor], bytes);
      if (++next == size) next = 0;
    }
  }
}

}  // namespace gpubench::cuda
