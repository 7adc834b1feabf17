#include "cuda/batch_times.hpp"

#include <algorithm>
#include <string>

#include "gpubench/clock.hpp"
#include "gpubench/cuda/error.hpp"

namespace gpubench::cuda {
namespace {

// Taken at the start and at the end of a run. Each takes about 10 us; the narrowest one decides.
constexpr std::size_t anchors_per_end = 4;

// An idle stream executes an event in microseconds.
constexpr std::int64_t anchor_deadline_ns = 10'000'000'000;

}  // namespace

batch_times::batch_times(const shared_context& in_context, std::size_t depth, bool copies_in,
                         bool copies_out)
    : depth_(depth),
      event_index_{0, copies_in ? 1U : 0U, 2, copies_out ? 3U : 2U},
      anchor_stream_(in_context),
      anchor_events_{event(in_context), event(in_context)},
      in_slot_(depth),
      set_of_row_(depth + 1),
      rows_(depth + 1) {
  anchors_.reserve(2 * anchors_per_end);
  const std::size_t sets = depth + 2;
  free_.reserve(sets);
  for (std::size_t i = 0; i < sets; ++i)
    sets_.push_back({event(in_context), event(in_context), event(in_context), event(in_context)});
}

void batch_times::begin() {
  completed_ = read_ = 0;
  read_last_.reset();
  free_.clear();
  for (std::size_t i = 0; i < sets_.size(); ++i) free_.push_back(i);
  anchors_.clear();
  previous_ = nullptr;
  take_anchors();
}

batch_times::events& batch_times::start(std::size_t slot) {
  in_slot_[slot] = free_.back();
  free_.pop_back();
  return sets_[in_slot_[slot]];
}

device_stamps batch_times::complete(std::size_t slot) noexcept {
  const std::size_t row = completed_++;
  set_of_row_[row % set_of_row_.size()] = in_slot_[slot];
  return row < depth_ ? device_stamps{} : rows_[(row - depth_) % rows_.size()];
}

void batch_times::read() {
  for (; read_ < completed_; ++read_) {
    const std::size_t set = set_of_row_[read_ % set_of_row_.size()];
    rows_[read_ % rows_.size()] = times_of(sets_[set]);
    if (read_last_) free_.push_back(*read_last_);
    read_last_ = set;
  }
}

std::size_t batch_times::finish(device_stamps* rows, std::size_t count) {
  const std::size_t late = std::min(depth_, count);
  std::copy(rows + late, rows + count, rows);
  std::size_t known = count - late;
  try {
    read();
    take_anchors();
  } catch (const cuda_error&) {  // the device failed
  } catch (const not_responding&) {
  }
  for (; known < read_; ++known) rows[known] = rows_[known % rows_.size()];
  return known;
}

void batch_times::take_anchors() {
  for (std::size_t i = 0; i < anchors_per_end; ++i) {
    take_anchor(anchor_events_[anchors_.size() % anchor_events_.size()]);
  }
}

void batch_times::take_anchor(event& by) {
  clock_anchor taken{0, now_ns(), 0};
  by.record(anchor_stream_);
  while (!by.passed()) {
    if (now_ns() - taken.before_ns > anchor_deadline_ns) {
      throw not_responding("the device did not pass an event on an idle stream within 10 s");
    }
    relax();
  }
  taken.after_ns = now_ns();
  taken.device_ns = time_of(by);
  anchors_.push_back(taken);
}

std::int64_t batch_times::time_of(const event& next) {
  previous_ns_ = previous_ == nullptr ? 0 : previous_ns_ + elapsed_ns(*previous_, next);
  previous_ = &next;
  return previous_ns_;
}

device_stamps batch_times::times_of(const events& batch) {
  device_stamps times;
  times[0] = previous_ns_ + elapsed_ns(*previous_, batch[0]);
  for (std::size_t i = 1; i < 4; ++i) {
    const std::size_t from = event_index_[i - 1];
    const std::size_t to = event_index_[i];
    times[i] = times[i - 1] + (from == to ? 0 : elapsed_ns(batch[from], batch[to]));
  }
  previous_ = &batch[0];
  previous_ns_ = times[0];
  return times;
}

}  // namespace gpubench::cuda
