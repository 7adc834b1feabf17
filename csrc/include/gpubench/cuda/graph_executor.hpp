// Executes batches with CUDA graphs: copies to the device, one graph launch and one copy back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gpubench/cuda/buffers.hpp"
#include "gpubench/cuda/event_clock.hpp"
#include "gpubench/cuda/payloads.hpp"
#include "gpubench/executor.hpp"

struct CUgraphExec_st;

namespace gpubench::cuda {

// An executable graph for batches of one size.
struct sized_graph {
  std::size_t requests = 0;         // the batch size that the graph computes
  CUgraphExec_st* graph = nullptr;  // not owned
  std::size_t input_bytes = 0;      // copied to the device before the launch
  std::size_t output_bytes = 0;     // copied to the host after it
};

// A slot for one batch in flight, with its own memory.
struct graph_slot {
  // One for each graph size. A batch uses the smallest one that is large enough.
  std::vector<sized_graph> graphs;

  // Where the graphs read the inputs of a batch, unless these are on the device already.
  device_address device_input = 0;

  // Where the CPU gathers the inputs of a batch. Null: it does not.
  std::shared_ptr<const pinned_buffer> host_input;

  // Without host_output, the outputs stay on the device.
  device_address device_output = 0;
  std::shared_ptr<const pinned_buffer> host_output;
};

// The executor of one worker on one device, with one stream for each slot.
//
// fill() gathers the inputs of the requests in the slot's pinned buffer. start() enqueues copies,
// graph and events on the slot's stream, and returns. So the device works on one batch while the
// host gathers the next one. The device copies inputs in pinned memory from where they are.
// docs/cuda.md lists the calls for a batch and explains how its events are placed on the host's
// clock.
class graph_executor : public executor {
 public:
  // `inputs` is null if the graphs read inputs that are on the device already. `owner` is the
  // object that owns the graphs and the memory. The executor keeps it alive until the device has
  // finished with them; close() or the destructor releases it. `takes_turns`: for closed loops; the
  // requests of each batch take the inputs that follow those of the last batch.
  //
  // Throws invalid_argument for slots that cannot work, and unavailable for a device that does not
  // exist.
  graph_executor(int device, std::vector<graph_slot> slots, std::shared_ptr<const payloads> inputs,
                 std::shared_ptr<const void> owner, bool takes_turns = false);
  ~graph_executor() override;

  std::size_t depth() const noexcept override { return slots_.size(); }
  bool has_device_times() const noexcept override { return true; }

  // These throw cuda_error and not_responding.
  void open() override;
  void close() override;
  void fill(std::size_t slot, const request* requests, std::size_t size) override;
  batch_state start(std::size_t slot, const batch_view& batch) override;
  batch_state poll(std::size_t slot) override;
  device_stamps device_times(std::size_t slot) override;
  std::size_t to_host_clock(const batch_record* batches, device_stamps* stamps,
                            std::size_t count) override;

  int device() const noexcept { return device_; }

  // Whether the CPU gathers inputs.
  bool fills_inputs() const noexcept { return slots_[0].host_input != nullptr; }

  // About the last run. Read them after its end.
  const std::optional<clock_fit>& clock() const noexcept {
    return clock_;
  }  // absent if it had no batch
  std::size_t padded() const noexcept {
    return padded_;
  }  // requests that pad batches to a graph size
  std::size_t launches() const noexcept { return launches_; }
  std::int64_t enqueue_ns() const noexcept { return enqueue_ns_; }  // host time of all launches

 private:
  struct device_side;  // the objects that exist from open() to close()

  void begin_run();

  int device_;
  std::vector<graph_slot> slots_;
  std::shared_ptr<const payloads> inputs_;
  std::shared_ptr<const void> owner_;
  const bool takes_turns_;
  std::unique_ptr<device_side> device_side_;
  bool in_run_ = false;
  std::size_t turn_ = 0;            // of the next batch
  std::vector<std::size_t> turns_;  // of the last batch in each slot
  std::optional<clock_fit> clock_;
  std::size_t padded_ = 0;
  std::size_t launches_ = 0;
  std::int64_t enqueue_ns_ = 0;
};

}  // namespace gpubench::cuda
