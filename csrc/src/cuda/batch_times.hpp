// The device times of batches, read from their events while later batches run.
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

// Gives each batch its events, and adds up the times between neighbouring ones in int64. The zero
// of the device's clock is the first anchor of the run.
//
// A batch's times are read some time after it completed, so that the device is at work again, and
// handed out when `depth` more batches have completed: by then they have been read, since a batch
// was started in between. finish() puts every row in its place.
//
// REQUIRES: the context is current. Members throw cuda_error and not_responding.
class batch_times {
 public:
  using events = std::array<event, 4>;

  // With `copies_in` batches record e1, else it is e0; with `copies_out` e3, else it is e2.
  batch_times(const shared_context& on, std::size_t depth, bool copies_in, bool copies_out);

  // A run begins. Takes anchors, which wait for the device for some microseconds.
  void begin();

  // A batch starts in `slot`: the events that it is to record.
  events& start(std::size_t slot);

  // Whether the device has come by its last event.
  bool passed(std::size_t slot) const { return sets_[in_slot_[slot]][mark_[3]].passed(); }

  // It has. The times of the batch that completed `depth` batches before, if any did.
  device_stamps complete(std::size_t slot) noexcept;

  // Reads the times of all that completed and were not read yet.
  void read();

  // The run is over: takes anchors, and puts the rows that complete() answered, `count` of them,
  // where they belong. Returns how many are known, which are the first ones: where the device is
  // lost the last batches' times are, too.
  std::size_t finish(device_stamps* rows, std::size_t count);

  const std::vector<clock_anchor>& anchors() const noexcept { return anchors_; }

 private:
  void take_anchors();
  void take_anchor(event& by);
  std::int64_t advance_to(const event& next);
  device_stamps times_of(const events& batch);

  const std::size_t depth_;
  const std::array<std::size_t, 4> mark_;  // which event stands for e0..e3
  stream anchor_stream_;
  std::array<event, 2> anchor_events_;
  std::vector<clock_anchor> anchors_;

  // The events of the batches in flight, of those not read yet, and of the one read last.
  std::vector<events> sets_;
  std::vector<std::size_t> free_;     // sets
  std::vector<std::size_t> in_slot_;  // the set of the batch there
  std::optional<std::size_t> read_last_;

  // Rows of the run, in the order of completion; kept in rings.
  std::size_t completed_ = 0;
  std::size_t read_ = 0;
  std::vector<std::size_t> set_of_row_;
  std::vector<device_stamps> rows_;

  const event* neighbour_ = nullptr;  // the event reached last, and its time
  std::int64_t neighbour_ns_ = 0;
};

}  // namespace gpubench::cuda
