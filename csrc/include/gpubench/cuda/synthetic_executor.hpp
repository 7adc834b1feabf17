// A model with a known service time on a GPU: what the whole path is proven with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gpubench/cuda/graph_executor.hpp"

namespace gpubench::cuda {

// Every batch is a graph with the spin kernel. Batches take the entries of `service_ns` in turn, as
// delay_executor does, whatever their size. A service time of 0 is the null system of the device:
// it shows what copies, launches and events cost.
class synthetic_executor final : public graph_executor {
 public:
  struct options {
    std::size_t depth = 1;          // batches in flight
    std::size_t max_batch = 1;      // requests
    std::size_t request_bytes = 0;  // that a request brings; 0: nothing is copied to the device
    std::size_t reply_bytes = 0;    // that a request gets back; 0: nothing is copied back
  };

  // Throws invalid_argument, unavailable and cuda_error.
  synthetic_executor(int device, std::vector<std::int64_t> service_ns, const options& wanted);

  batch_state start(std::size_t slot, const batch_view& batch) override;

 private:
  struct model;  // the kernel, its graphs and their memory

  synthetic_executor(int device, std::vector<std::int64_t> service_ns, std::shared_ptr<model> made);

  std::vector<std::int64_t> service_ns_;
  std::size_t next_ = 0;
  std::shared_ptr<model> model_;
};

}  // namespace gpubench::cuda
