// Replays executable graphs: a batch is one copy to the device, a graph launch and one copy back.
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

// A size of batch that a slot can execute.
struct rung {
  std::size_t requests = 0;         // that its graph computes, whether anybody asked for them
  CUgraphExec_st* graph = nullptr;  // not owned
  std::size_t input_bytes = 0;      // copied to the device before it
  std::size_t output_bytes = 0;     // copied back after it
};

// A place for one batch in flight, with memory of its own.
struct graph_slot {
  // A batch takes the smallest that holds it.
  std::vector<rung> ladder;

  // Absent: the graphs read what lies on the device before the clock starts.
  std::shared_ptr<const pinned_buffer> host_input;
  device_address device_input = 0;

  // Absent: outputs stay on the device.
  device_address device_output = 0;
  std::shared_ptr<const pinned_buffer> host_output;
};

// One worker on one device, with a stream for each slot.
//
// start() writes the requests' inputs side by side into the slot's pinned arena, hands everything
// to the slot's stream and returns: the device works on a batch while the next one is written.
// docs/cuda.md has the calls of a batch, and how its events come to the host's clock.
class graph_executor : public executor {
 public:
  // `inputs` may be absent where no slot has host_input. `owner` is whatever the graphs and the
  // memory belong to; it is held until the device has finished with them, and given back by close()
  // or by the destructor.
  //
  // Throws invalid_argument for slots that cannot work, and unavailable for a device that is not
  // there.
  graph_executor(int device, std::vector<graph_slot> slots, std::shared_ptr<const payloads> inputs,
                 std::shared_ptr<const void> owner);
  ~graph_executor() override;

  std::size_t depth() const noexcept override { return slots_.size(); }
  bool has_device_times() const noexcept override { return true; }

  // These throw cuda_error, and not_responding.
  void open() override;
  void close() override;
  batch_state start(std::size_t slot, const batch_view& batch) override;
  batch_state poll(std::size_t slot) override;
  device_stamps device_times(std::size_t slot) override;
  std::size_t to_host_clock(const batch_record* batches, device_stamps* stamps,
                            std::size_t count) override;

  int device() const noexcept { return device_; }

  // Of the last run, to be read when it is over.
  const std::optional<clock_fit>& clock() const noexcept { return clock_; }  // absent: no batch
  std::size_t padded() const noexcept { return padded_; }  // requests computed for nobody
  std::size_t launches() const noexcept { return launches_; }
  std::int64_t enqueue_ns() const noexcept { return enqueue_ns_; }  // of them all, on the host

 private:
  struct device_side;  // what exists from open() to close()

  void begin_run();

  int device_;
  std::vector<graph_slot> slots_;
  std::shared_ptr<const payloads> inputs_;
  std::shared_ptr<const void> owner_;
  std::unique_ptr<device_side> device_side_;
  bool in_run_ = false;
  std::optional<clock_fit> clock_;
  std::size_t padded_ = 0;
  std::size_t launches_ = 0;
  std::int64_t enqueue_ns_ = 0;
};

}  // namespace gpubench::cuda
