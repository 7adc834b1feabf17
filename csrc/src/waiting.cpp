#include "gpubench/waiting.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>

namespace gpubench {
namespace {

// A sleep ends up to about 80 us late, so a worker that watches the clock wakes that much earlier.
constexpr std::int64_t watch_ns = 120'000;

// Longest watch where no moment is known: a worker must not eat a core that the model needs.
constexpr std::int64_t idle_watch_ns = 1'000'000;

// Nothing is waited for without an end; the caller asks again.
constexpr std::int64_t longest_sleep_ns = 100'000'000;

// The lock is held for well under a microsecond, so a short spin mostly spares the kernel's help.
// The pauses grow, since every attempt takes the lock's cache line away from the worker that holds
// it.
constexpr int longest_pause = 256;

}  // namespace

void monitor::contend(std::unique_lock<std::mutex>& lock) {
  for (int pauses = 4; pauses <= longest_pause; pauses *= 4) {
    for (int i = 0; i < pauses; ++i) relax();
    if (lock.try_lock()) return;
  }
  lock.lock();
}

void monitor::notify_all() noexcept {
  changes_.fetch_add(1, std::memory_order_release);
  if (sleepers_ > 0) condition_.notify_all();
}

void monitor::wait(std::unique_lock<std::mutex>& lock, wait_mode mode, std::int64_t until_ns) {
  const std::uint32_t seen = changes();
  const std::int64_t now = now_ns();
  const bool idle = until_ns == never_ns;
  if (idle) begin_idle();
  if (mode == wait_mode::block) {
    sleep(lock, std::min(until_ns, now + longest_sleep_ns));
  } else if (idle) {
    watch(lock, mode, seen, now + idle_watch_ns);
    if (changes() == seen) sleep(lock, now + longest_sleep_ns);
  } else if (until_ns - now > watch_ns) {
    sleep(lock, std::min(until_ns - watch_ns, now + longest_sleep_ns));
  } else {
    watch(lock, mode, seen, until_ns);
  }
  if (idle) end_idle();
}

void monitor::sleep(std::unique_lock<std::mutex>& lock, std::int64_t until_ns) {
  using clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC, as now_ns()
  ++sleepers_;
  condition_.wait_until(lock, clock::time_point(std::chrono::nanoseconds(until_ns)));
  --sleepers_;
}

void monitor::watch(std::unique_lock<std::mutex>& lock, wait_mode mode, std::uint32_t seen,
                    std::int64_t until_ns) {
  lock.unlock();
  while (changes() == seen && now_ns() < until_ns) {
    if (mode == wait_mode::yield) {
      sched_yield();
    } else {
      relax();
    }
  }
  lock.lock();
}

}  // namespace gpubench
