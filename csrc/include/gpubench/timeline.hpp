// The time stamps that one worker recorded in one run.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpubench/request.hpp"

namespace gpubench {

struct batch_record {
  std::int64_t opened_ns;     // the worker began to look for a batch
  std::int64_t departed_ns;   // its requests were removed from the queue
  std::int64_t submitted_ns;  // the inputs were gathered; immediately before executor::start()
  std::int64_t completed_ns;  // the host can read the results
  std::uint32_t first_request;
  std::uint32_t size;  // requests
};

// Device time stamps of a batch: before the copy to the device (e0), before the computation (e1),
// after the computation (e2), after the copy to the host (e3).
using device_stamps = std::array<std::int64_t, 4>;

// Completed batches and their requests, in the order of completion. Up to the capacity, append()
// does not allocate: memory is allocated and prefaulted before the run.
//
// Thread-safety: one thread appends and publishes; any thread may read what is published.
class timeline {
 public:
  static constexpr std::size_t largest_capacity = UINT32_MAX;

  // Allocates room for `capacity` requests, even if each is a batch of its own. Prefaults the pages
  // of `expected` requests in batches of `expected_batch`. Throws std::bad_alloc.
  timeline(std::size_t capacity, std::size_t expected, std::size_t expected_batch,
           bool device_times);
  timeline(const timeline&) = delete;
  timeline& operator=(const timeline&) = delete;

  // Appends a batch and sets its first_request. In a timeline with device times, the stamps of
  // every batch must be appended too. Beyond the capacity the memory moves; no other thread may
  // read then.
  void append(const batch_record& record, const request* requests) {
    batch_record& added = batches_.emplace_back();
    added.opened_ns = record.opened_ns;
    added.departed_ns = record.departed_ns;
    added.submitted_ns = record.submitted_ns;
    added.completed_ns = record.completed_ns;
    added.first_request = static_cast<std::uint32_t>(requests_.size());
    added.size = record.size;
    for (std::size_t i = 0; i < record.size; ++i) requests_.push_back(requests[i]);
    prefetch_write(batches_);
    prefetch_write(requests_);
  }
  void append(const device_stamps& stamps) { stamps_.push_back(stamps); }

  // Makes everything that was appended visible to other threads.
  void publish() noexcept { published_.store(batches_.size(), std::memory_order_release); }

  // Makes the stamps of the first `count` batches visible; they are on the host's clock now.
  void publish_stamps(std::size_t count) noexcept {
    published_stamps_.store(count, std::memory_order_release);
  }

  bool has_device_times() const noexcept { return device_times_; }

  // Published records. Up to the capacity the pointers stay valid as long as the timeline exists.
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
  // Prefetches the memory of a later batch. Otherwise the next lock operation would wait until the
  // cache has loaded it.
  template <class Record>
  static void prefetch_write(const std::vector<Record>& records) noexcept {
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
