// What requests bring, and how a batch of them lies in memory.
#pragma once

#include <cstddef>
#include <vector>

#include "gpubench/request.hpp"

namespace gpubench::cuda {

// Distinct inputs, made ahead. A request with id i brings number i % count().
//
// In the arena of a batch the requests lie side by side, input tensor after input tensor, each of
// which begins at a multiple of 256 bytes, so that one copy brings the whole batch to the device:
//
//     | tensor 0 of request 0, 1, 2 ... | tensor 1 of request 0, 1, 2 ... | ...
//
// Thread-safety: const members are safe from any thread.
class payloads {
 public:
  // `tensor_bytes`: of each input tensor of one request. `data`: request after request, the tensors
  // of each one after another. Throws invalid_argument where they do not fit together.
  payloads(std::vector<std::size_t> tensor_bytes, std::vector<unsigned char> data);

  std::size_t count() const noexcept { return count_; }

  // Where each input tensor begins in the arena of a batch of `requests`, and the arena's length.
  std::vector<std::size_t> offsets(std::size_t requests) const;
  std::size_t arena_bytes(std::size_t requests) const;

  // Writes the inputs of `requests` to their places in the arena of a batch of `places`, of which
  // they take the first; nothing else is touched.
  // REQUIRES: size <= places.
  void fill(unsigned char* arena, std::size_t places, const request* requests,
            std::size_t size) const noexcept;

 private:
  std::vector<std::size_t> tensor_bytes_;
  std::vector<unsigned char> data_;
  std::size_t request_bytes_ = 0;
  std::size_t count_ = 0;
};

}  // namespace gpubench::cuda
