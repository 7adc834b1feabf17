// Records of time stamps: what one worker measured in one run.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpubench/request.hpp"

namespace gpubench {

struct batch_record {
  std::int64_t opened_ns;     // the worker turned to the queue for it
  std::int64_t departed_ns;   // its requests were taken
  std::int64_t submitted_ns;  // just before the executor was called
  std::int64_t completed_ns;  // its results can be read on the host
  std::uint32_t first_request;
  std::uint32_t size;  // requests
};

// Device stamps of a batch: before the copy to the device (e0), before compute (e1), after
// compute (e2), after the copy back (e3).
using device_stamps = std::array<std::int64_t, 4>;

// Completed batches and their requests, in the order of completion. Within its capacity, append()
// only writes: memory is taken, and touched, before the run.
//
// Thread-safety: one thread appends and publishes; any thread may read what is published.
class timeline {
 public:
  static constexpr std::size_t largest_capacity = UINT32_MAX;

  // Room for `capacity` requests, even if each is a batch of its own; pages for `expected`
  // requests in batches of `expected_batch` are touched. Throws std::bad_alloc.
  timeline(std::size_t capacity, std::size_t expected, std::size_t expected_batch,
           bool device_times);
  timeline(const timeline&) = delete;
  timeline& operator=(const timeline&) = delete;

  // Adds a batch; its first_request is filled in. A timeline with device times takes the stamps of
  // every batch, too. Beyond the capacity memory moves, which nobody else may be reading then.
  void append(const batch_record& record, const request* requests) {
    batch_record& added = batches_.emplace_back();
    added.opened_ns = record.opened_ns;
    added.departed_ns = record.departed_ns;
    added.submitted_ns = record.submitted_ns;
    added.completed_ns = record.completed_ns;
    added.first_request = static_cast<std::uint32_t>(requests_.size());
    added.size = record.size;
    for (std::size_t i = 0; i < record.size; ++i) requests_.push_back(requests[i]);
    expect_write(batches_);
    expect_write(requests_);
  }
  void append(const device_stamps& stamps) { stamps_.push_back(stamps); }

  // Shows what was appended to other threads.
  void publish() noexcept { published_.store(batches_.size(), std::memory_order_release); }

  // Shows the stamps of the first `count` batches, which have come to the host's clock.
  void publish_stamps(std::size_t count) noexcept {
    published_stamps_.store(count, std::memory_order_release);
  }

  bool has_device_times() const noexcept { return device_times_; }

  // Published records. Within the capacity the pointers stay valid for the timeline's life.
  std::size_t batch_count() const noexcept { return published_.load(std::memory_order_acquire); }
  std::size_t request_count() const noexcept;
  const batch_record* batches() const noexcept { return batches_.data(); }
  const request* requests() const noexcept { return requests_.data(); }
  std::size_t stamp_count() const noexcept {  // of the first batches; 0 until the end of the run
    return published_stamps_.load(std::memory_order_acquire);
  }
  device_stamps* stamps() noexcept { return stamps_.data(); }
  const device_stamps* stamps() const noexcept { return stamps_.data(); }

 private:
  // Fetches the memory that is written some batches later: otherwise the next lock waits for it.
  template <class Record>
  static void expect_write(const std::vector<Record>& records) noexcept {
    const auto end = reinterpret_cast<std::uintptr_t>(records.data() + records.size());
    __builtin_prefetch(reinterpret_cast<const void*>(end + 16 * sizeof(batch_record)), 1);
  }

  bool device_times_;
  std::vector<batch_record> batches_;
  std::vector<request> requests_;
  std::vector<device_stamps> stamps_;  // empty without device times
  std::atomic<std::size_t> published_{0};
  std::atomic<std::size_t> published_stamps_{0};
};

}  // namespace gpubench
