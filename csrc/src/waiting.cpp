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

// So shortly before its moment a worker takes the lock back and asks once more, which also brings
// what the claim needs into its cache; from then on it watches the clock alone, with the lock held.
constexpr std::int64_t last_look_ns = 1'000;

// A worker that stands by acts on its own when nobody has watched for a moment this long after it.
constexpr std::int64_t stand_by_ns = 2'000;

void pause(wait_mode mode) {
  if (mode == wait_mode::yield) {
    sched_yield();
  } else {
    relax();
  }
}

}  // namespace

void monitor::contend(held& lock) {
  for (int pauses = 1; pauses <= longest_pause; pauses *= 2) {
    for (int i = 0; i < pauses; ++i) relax();
    if (lock.try_lock()) return;
  }
  lock.lock();
}

void monitor::notify_all() noexcept {
  changes_.fetch_add(1, std::memory_order_release);
  if (sleepers_ > 0) condition_.notify_all();
}

void monitor::wait(held& lock, wait_mode mode, std::int64_t until_ns) {
  const std::int64_t now = now_ns();
  if (until_ns == never_ns) {
    begin_idle();
    wait_for_change(lock, mode, now);
    end_idle();
  } else if (mode == wait_mode::block) {
    sleep(lock, std::min(until_ns, now + longest_sleep_ns));
  } else if (until_ns - now > watch_ns) {
    sleep(lock, std::min(until_ns - watch_ns, now + longest_sleep_ns));
  } else if (until_ns - now <= last_look_ns) {
    while (now_ns() < until_ns) {  // without relax(), which may take 0.1 us
    }
  } else if (until_ns < watched_ns_.load(std::memory_order_relaxed)) {
    lead(lock, mode, until_ns);
  } else {
    stand_by(lock, mode, until_ns);
  }
}

void monitor::wait_for_change(held& lock, wait_mode mode, std::int64_t now) {
  const std::uint32_t seen = changes();
  if (mode != wait_mode::block) watch(lock, mode, seen, now + idle_watch_ns);
  if (changes() == seen) sleep(lock, now + longest_sleep_ns);
}

void monitor::sleep(held& lock, std::int64_t until_ns) {
  using clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC, as now_ns()
  ++sleepers_;
  condition_.wait_until(lock, clock::time_point(std::chrono::nanoseconds(until_ns)));
  --sleepers_;
}

void monitor::watch(held& lock, wait_mode mode, std::uint32_t seen, std::int64_t until_ns) {
  lock.unlock();
  while (changes() == seen && now_ns() < until_ns) pause(mode);
  retake(lock);
}

void monitor::lead(held& lock, wait_mode mode, std::int64_t until_ns) {
  watched_ns_.store(until_ns, std::memory_order_relaxed);
  watch(lock, mode, changes(), until_ns - last_look_ns);
  // Another worker may have come to watch for an earlier moment.
  if (watched_ns_.load(std::memory_order_relaxed) == until_ns) {
    watched_ns_.store(never_ns, std::memory_order_relaxed);
  }
}

void monitor::stand_by(held& lock, wait_mode mode, std::int64_t until_ns) {
  const std::uint32_t seen = changes();
  lock.unlock();
  while (changes() == seen && now_ns() < until_ns + stand_by_ns) {
    const std::int64_t watched_ns = watched_ns_.load(std::memory_order_relaxed);
    if (watched_ns != never_ns) until_ns = watched_ns;
    pause(mode);
  }
  retake(lock);
}

}  // namespace gpubench
