// The device times of batches. They are read from the events of a batch while later batches run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cuda/event.hpp"
#include "cuda/stream.hpp"
#include "gpubench/cuda/event_clock.hpp"
#include "gpubench/timeline.hpp"

namespace gpubench::cuda {

// Assigns events to each batch, and sums the times between consecutive events in int64. The zero of
// the device's clock is the first anchor of the run.
//
// The times of a batch are read after the next batch was started, so that the device is not idle
// meanwhile. complete() therefore returns the times of the batch that completed `depth` batches
// before: these have been read, because a batch was started in between. finish() moves every row to
// its place.
//
// REQUIRES: the context is current. Members throw cuda_error and not_responding.
class batch_times {
 public:
  using events = std::array<event, 4>;

  // Batches record e1 only with `copies_in`, else e1 = e0; e3 only with `copies_out`, else e3 = e2.
  batch_times(const shared_context& in_context, std::size_t depth, bool copies_in, bool copies_out);

  // A run begins. Takes anchors, each of which waits some microseconds for the device.
  void begin();

  // A batch starts in `slot`. Returns the events that it is to record.
  events& start(std::size_t slot);

  // Whether the device has executed the last event of the batch in `slot`.
  bool passed(std::size_t slot) const { return sets_[in_slot_[slot]][event_index_[3]].passed(); }

  // The batch in `slot` is complete. Returns the times of the batch that completed `depth` batches
  // before, if there was one.
  device_stamps complete(std::size_t slot) noexcept;

  // Reads the times of the completed batches that have not been read yet.
  void read();

  // The run is over. Takes anchors, and moves the `count` rows that complete() returned to their
  // places. Returns how many rows are known. They are the first ones; if the device failed, the
  // times of the last batches are missing.
  std::size_t finish(device_stamps* rows, std::size_t count);

  const std::vector<clock_anchor>& anchors() const noexcept { return anchors_; }

 private:
  void take_anchors();
  void take_anchor(event& by);
  std::int64_t time_of(const event& next);
  device_stamps times_of(const events& batch);

  const std::size_t depth_;
  const std::array<std::size_t, 4> event_index_;  // the events that are e0..e3
  stream anchor_stream_;
  std::array<event, 2> anchor_events_;
  std::vector<clock_anchor> anchors_;

  // Sets of events: of the batches in flight, of those not read yet, and of the one read last.
  std::vector<events> sets_;
  std::vector<std::size_t> free_;     // unused sets
  std::vector<std::size_t> in_slot_;  // the set of the batch in each slot
  std::optional<std::size_t> read_last_;

  // Rows of the run, in the order of completion, in ring buffers.
  std::size_t completed_ = 0;
  std::size_t read_ = 0;
  std::vector<std::size_t> set_of_row_;
  std::vector<device_stamps> rows_;

  const event* previous_ = nullptr;  // the event that was read last, and its time
  std::int64_t previous_ns_ = 0;
};

}  // namespace gpubench::cuda
