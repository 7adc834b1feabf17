// How a worker waits: the queue's lock, and the calls that wake those who wait for it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "gpubench/clock.hpp"

namespace gpubench {

enum class wait_mode {
  spin,   // sleeps while the moment is far and watches the clock at its end: least lag, most CPU
  yield,  // the same, and lets other threads run between two looks at the clock
  block,  // sleeps until the moment: least CPU
};

// A mutex and a condition variable that can also be watched. Every member is safe from any thread.
class monitor {
 public:
  std::unique_lock<std::mutex> lock() {
    std::unique_lock<std::mutex> lock(mutex_, std::defer_lock);
    retake(lock);
    return lock;
  }

  // Wakes every waiter, so that it asks again.
  // REQUIRES: the caller holds the lock.
  void notify_all() noexcept;

  // Waits until `until_ns` (never_ns: no known moment), for a notification, or for a while: the
  // caller asks again in any case. Gives the lock up meanwhile, but for the last microsecond.
  void wait(std::unique_lock<std::mutex>& lock, wait_mode mode, std::int64_t until_ns);

  // How many wait with no known moment, in wait() or, watching changes(), in their own way.
  // REQUIRES: the caller holds the lock.
  int idle() const noexcept { return idle_; }
  void begin_idle() noexcept { ++idle_; }
  void end_idle() noexcept { --idle_; }

  // Changes with every notification; readable without the lock.
  std::uint32_t changes() const noexcept { return changes_.load(std::memory_order_acquire); }

 private:
  using held = std::unique_lock<std::mutex>;

  void retake(held& lock) {
    if (!lock.try_lock()) contend(lock);
  }
  void contend(held& lock);

  // The ways to wait. Each gives the lock up and takes it back.
  void sleep(held& lock, std::int64_t until_ns);
  void watch(held& lock, wait_mode mode, std::uint32_t seen, std::int64_t until_ns);
  void wait_for_change(held& lock, wait_mode mode, std::int64_t now);

  // Of several workers that wait for the same moment one leads, which is to watch for it. The
  // others, which would only be in its way, stand by in case it is held up.
  void lead(held& lock, wait_mode mode, std::int64_t until_ns);
  void stand_by(held& lock, wait_mode mode, std::int64_t until_ns);

  std::mutex mutex_;
  std::condition_variable condition_;
  int sleepers_ = 0;
  int idle_ = 0;

  // Read without the lock, so on a cache line of their own.
  alignas(64) std::atomic<std::uint32_t> changes_{0};
  std::atomic<std::int64_t> watched_ns_{never_ns};  // the earliest moment that a worker leads for
};

}  // namespace gpubench
