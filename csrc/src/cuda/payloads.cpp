#include "gpubench/cuda/payloads.hpp"

#include <cstring>
#include <string>
#include <utility>

#include "gpubench/error.hpp"

namespace gpubench::cuda {
namespace {

// The alignment of cudaMalloc, so that kernels can use their widest loads.
constexpr std::size_t alignment = 256;

std::size_t aligned(std::size_t bytes) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace

payloads::payloads(std::vector<std::size_t> tensor_bytes, std::vector<unsigned char> data)
    : tensor_bytes_(std::move(tensor_bytes)), data_(std::move(data)) {
  for (const std::size_t bytes : tensor_bytes_) request_bytes_ += bytes;
  if (request_bytes_ == 0) {
    throw invalid_argument("the requests bring no bytes; give at least one input tensor");
  }
  count_ = data_.size() / request_bytes_;
  if (count_ == 0 || data_.size() % request_bytes_ != 0) {
    throw invalid_argument("the payloads have " + std::to_string(data_.size()) +
                           " bytes, which is no multiple of the " + std::to_string(request_bytes_) +
                           " of one request; give whole requests");
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

void payloads::fill(unsigned char* arena, std::size_t batch_size, const request* requests,
                    std::size_t size) const noexcept {
  std::size_t begin = 0;       // offset of the tensor in the arena
  std::size_t in_request = 0;  // offset of the tensor in the data of one request
  for (const std::size_t bytes : tensor_bytes_) {
    unsigned char* target = arena + aligned(begin);
    begin = aligned(begin) + bytes * batch_size;
    for (std::size_t i = 0; i < size; ++i, target += bytes) {
      const std::size_t number = static_cast<std::size_t>(requests[i].id) % count_;
      std::memcpy(target, data_.data() + number * request_bytes_ + in_request, bytes);
    }
    in_request += bytes;
  }
}

}  // namespace gpubench::cuda
