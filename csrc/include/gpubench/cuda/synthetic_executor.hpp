// A model with known service times on a GPU: it is used to test everything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gpubench/cuda/graph_executor.hpp"

namespace gpubench::cuda {

// Every batch is a graph with one kernel that takes a known time. Each batch takes the next entry
// of `service_ns`, whatever its size, as with delay_executor. A service time of 0 is the null
// system of the device: it measures the cost of copies, launches and events.
class synthetic_executor final : public graph_executor {
 public:
  struct options {
    std::size_t depth = 1;          // batches in flight
    std::size_t max_batch = 1;      // requests
    std::size_t request_bytes = 0;  // input of one request; 0: nothing is copied to the device
    std::size_t reply_bytes = 0;    // output of one request; 0: nothing is copied to the host
    bool pinned_inputs = false;     // requests are in pinned memory, from which the device copies
  };

  // Throws invalid_argument, unavailable and cuda_error.
  synthetic_executor(int device, const std::vector<std::int64_t>& service_ns,
                     const options& wanted);

  batch_state start(std::size_t slot, const batch_view& batch) override;

 private:
  struct model;  // the kernel, its graphs and their memory

  synthetic_executor(int device, std::vector<std::int64_t> service_ns, std::shared_ptr<model> made);

  std::vector<std::int64_t> service_ns_;
  std::size_t next_ = 0;
  std::shared_ptr<model> model_;
};

}  // namespace gpubench::cuda
