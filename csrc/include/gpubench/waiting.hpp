// How a worker waits: the mutex of the queue, and the notifications of those who wait for it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "gpubench/clock.hpp"

namespace gpubench {

enum class wait_mode : std::uint8_t {
  spin,   // sleeps, and reads the clock in a loop at the end: least lag, most CPU time
  yield,  // the same, but lets other threads run between two readings
  block,  // sleeps: most lag, least CPU time
};

// A mutex with a condition variable. A thread can wait for a notification in a sleep or in a loop
// that reads a counter without the mutex. Every member is thread-safe.
class monitor {
 public:
  std::unique_lock<std::mutex> lock() {
    std::unique_lock<std::mutex> lock(mutex_, std::defer_lock);
    relock(lock);
    return lock;
  }

  // Wakes all waiting threads. REQUIRES: the caller holds the mutex.
  void notify_all() noexcept;

  // Waits until `until_ns` (never_ns: no known time), for a notification, or for a limited time;
  // the caller then checks its condition again. Unlocks the mutex meanwhile, except in the last
  // microsecond.
  void wait(std::unique_lock<std::mutex>& lock, wait_mode mode, std::int64_t until_ns);

  // How many threads wait without a known time, in wait() or in a loop of their own over
  // notifications(). REQUIRES: the caller holds the mutex.
  int idle() const noexcept { return idle_; }
  void begin_idle() noexcept { ++idle_; }
  void end_idle() noexcept { --idle_; }

  // How many notifications there were (modulo 2^32). Can be read without the mutex.
  std::uint32_t notifications() const noexcept {
    return notifications_.load(std::memory_order_acquire);
  }

 private:
  using unique_lock = std::unique_lock<std::mutex>;

  void relock(unique_lock& lock) {
    if (!lock.try_lock()) relock_contended(lock);
  }
  static void relock_contended(unique_lock& lock);

  // The ways to wait. Each unlocks the mutex and locks it again.
  void sleep(unique_lock& lock, std::int64_t until_ns);
  void spin(unique_lock& lock, wait_mode mode, std::uint32_t seen, std::int64_t until_ns);
  void wait_for_notification(unique_lock& lock, wait_mode mode, std::int64_t now);

  // If several workers wait for the same time, one of them is the leader: it spins until that time
  // and then looks at the queue. The followers would only compete with it for the mutex. They stay
  // away from the mutex and act only if the leader is late.
  void wait_as_leader(unique_lock& lock, wait_mode mode, std::int64_t until_ns);
  void wait_as_follower(unique_lock& lock, wait_mode mode, std::int64_t until_ns);

  std::mutex mutex_;
  std::condition_variable condition_;
  int sleepers_ = 0;
  int idle_ = 0;

  // Read without the mutex, so these have a cache line of their own.
  alignas(64) std::atomic<std::uint32_t> notifications_{0};
  std::atomic<std::int64_t> leader_until_ns_{
      never_ns};  // the earliest time that a leader waits for
};

}  // namespace gpubench
