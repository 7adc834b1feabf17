// The copies that bring the inputs of a batch to the device.
#pragma once

#include <cstddef>
#include <vector>

#include "gpubench/cuda/graph_executor.hpp"

struct CUstream_st;

namespace gpubench::cuda {

// The copies for the batches of one graph in one slot. What the CPU gathers is one copy from the
// slot's pinned buffer. Every other tensor is a copy for each request, from its pinned payload. All
// addresses but those of the payloads are known before the run, so enqueue() allocates nothing.
class input_copies {
 public:
  // `inputs` must outlive this object.
  input_copies(const payloads& inputs, const graph_slot& slot, std::size_t requests);

  // Enqueues the copies of a batch, with one call of the driver if it can. The requests are
  // repeated until the batch of the graph is full. `turn`: see payloads. Throws cuda_error.
  void enqueue(const request* requests, std::size_t size, std::size_t turn, CUstream_st* stream);

 private:
  void add(device_address to, device_address from, std::size_t bytes);

  const payloads& inputs_;
  const std::size_t requests_;                // of the graph
  std::vector<std::size_t> payload_offsets_;  // of the tensors that the device copies one by one
  std::size_t first_of_payloads_ = 0;         // the copies before it come from the pinned buffer

  // The arguments of cuMemcpyBatchAsync, which takes host addresses as device addresses.
  std::vector<device_address> to_, from_;
  std::vector<std::size_t> bytes_;
};

}  // namespace gpubench::cuda
