// The input data of requests, and its layout in the memory of a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "gpubench/cuda/buffers.hpp"
#include "gpubench/request.hpp"

namespace gpubench::cuda {

// Distinct inputs that are made before the run. A request with id i has input number
// (i + turn) % count(). The turn is 0 if each request has an id of its own. In a closed loop the id
// is the number of a client, and the turn grows, so that a client does not send the same input
// again and again.
//
// The arena is the memory of a batch. It contains the input tensors one after another, each of them
// for all requests of the batch, and each starting at a multiple of 256 bytes:
//
//     | tensor 0 of request 0, 1, 2 ... | tensor 1 of request 0, 1, 2 ... | ...
//
// The inputs are in ordinary memory or in pinned memory. Ordinary memory: the CPU gathers the
// inputs of a batch in a pinned arena, and one copy moves it to the device. Pinned memory: the
// device copies the inputs from where they are. Only tensors that are so small that this takes
// longer are gathered by the CPU, and never those of a batch of one request. Each request is stored
// as an arena of its own, so that one copy moves it.
//
// Thread-safety: const members are thread-safe.
class payloads {
 public:
  // In ordinary memory. `tensor_bytes`: the size of each input tensor of one request. `data`: one
  // request after another, each with its tensors one after another. Throws invalid_argument if the
  // sizes do not match.
  payloads(std::vector<std::size_t> tensor_bytes, const std::vector<unsigned char>& data);

  // In pinned memory. Also throws what pinned_buffer() throws.
  payloads(std::vector<std::size_t> tensor_bytes, const std::vector<unsigned char>& data,
           int device);

  std::size_t count() const noexcept { return count_; }
  std::size_t tensors() const noexcept { return tensor_bytes_.size(); }
  std::size_t tensor_bytes(std::size_t tensor) const noexcept { return tensor_bytes_[tensor]; }
  bool pinned() const noexcept { return pinned_.has_value(); }

  // The offset of each input tensor in the arena of a batch of `requests`, and the arena's size.
  std::vector<std::size_t> offsets(std::size_t requests) const;
  std::size_t arena_bytes(std::size_t requests) const;

  // The inputs of a request, as the arena of a batch of one.
  const unsigned char* arena_of(const request& from, std::size_t turn) const noexcept {
    return data_ + (static_cast<std::size_t>(from.id) + turn) % count_ * stride_;
  }

  // Whether the CPU gathers this tensor in batches of up to `most_requests`, or any tensor.
  bool gathers(std::size_t tensor, std::size_t most_requests) const noexcept {
    return !pinned() || (most_requests > 1 && tensor_bytes_[tensor] < least_copied_bytes_);
  }
  bool gathers(std::size_t most_requests) const noexcept;

  // Writes what the CPU gathers for a batch into the arena of a batch of `batch_size`. The requests
  // are repeated until the arena is full. REQUIRES: 1 <= size <= batch_size.
  void fill(unsigned char* arena, std::size_t batch_size, const request* requests, std::size_t size,
            std::size_t turn) const noexcept;

 private:
  void lay_out(std::size_t data_bytes);
  void store(unsigned char* to, const std::vector<unsigned char>& data);

  std::vector<std::size_t> tensor_bytes_;
  std::vector<std::size_t> offsets_of_one_;
  std::size_t stride_ = 0;  // bytes from one request to the next
  std::size_t count_ = 0;
  std::size_t least_copied_bytes_ = 0;  // smaller tensors of joined requests are gathered
  std::vector<unsigned char> ordinary_;
  std::optional<pinned_buffer> pinned_;
  const unsigned char* data_ = nullptr;  // in one of the two
};

}  // namespace gpubench::cuda
