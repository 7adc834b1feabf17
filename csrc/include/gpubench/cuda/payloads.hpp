// The input data of requests, and its layout in the memory of a batch.
#pragma once

#include <cstddef>
#include <vector>

#include "gpubench/request.hpp"

namespace gpubench::cuda {

// Distinct inputs that are made before the run. A request with id i has input number i % count().
//
// The arena is the memory of a batch. It contains the input tensors one after another, each of them
// for all requests of the batch, and each starting at a multiple of 256 bytes. So one copy moves
// the whole batch to the device:
//
//     | tensor 0 of request 0, 1, 2 ... | tensor 1 of request 0, 1, 2 ... | ...
//
// Thread-safety: const members are thread-safe.
class payloads {
 public:
  // `tensor_bytes`: the size of each input tensor of one request. `data`: one request after
  // another, each with its tensors one after another. Throws invalid_argument if the sizes do not
  // match.
  payloads(std::vector<std::size_t> tensor_bytes, std::vector<unsigned char> data);

  std::size_t count() const noexcept { return count_; }

  // The offset of each input tensor in the arena of a batch of `requests`, and the arena's size.
  std::vector<std::size_t> offsets(std::size_t requests) const;
  std::size_t arena_bytes(std::size_t requests) const;

  // Writes the inputs of `size` requests into the arena of a batch of `batch_size`, as its first
  // requests; does not write anything else. REQUIRES: size <= batch_size.
  void fill(unsigned char* arena, std::size_t batch_size, const request* requests,
            std::size_t size) const noexcept;

 private:
  std::vector<std::size_t> tensor_bytes_;
  std::vector<unsigned char> data_;
  std::size_t request_bytes_ = 0;
  std::size_t count_ = 0;
};

}  // namespace gpubench::cuda
