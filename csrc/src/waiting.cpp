#include "gpubench/waiting.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>

namespace gpubench {
namespace {

// A sleep ends up to about 80 us late, so a worker in a spin mode wakes this much earlier and
// spins.
constexpr std::int64_t spin_before_ns = 120'000;

// The longest spin if no time is known. A worker must not occupy a core that the model needs.
constexpr std::int64_t longest_idle_spin_ns = 1'000'000;

// Every sleep ends after this time; the caller checks its condition again.
constexpr std::int64_t longest_sleep_ns = 100'000'000;

// The mutex is held for well under a microsecond, so a thread first tries for a short time to lock
// it without the kernel. The pauses between the attempts grow, because each attempt takes the cache
// line of the mutex away from the thread that holds it.
constexpr int longest_pause = 256;

// This long before the due time the leader locks the mutex and looks at the queue again, which also
// loads the data of the queue into its cache. Then it spins with the mutex locked.
constexpr std::int64_t final_spin_ns = 1'000;

// A follower acts if no leader has handled a due time this long after it.
constexpr std::int64_t follower_grace_ns = 2'000;

void pause(wait_mode mode) {
  if (mode == wait_mode::yield) {
    sched_yield();
  } else {
    relax();
  }
}

}  // namespace

void monitor::relock_contended(unique_lock& lock) {
  for (int pauses = 1; pauses <= longest_pause; pauses *= 2) {
    for (int i = 0; i < pauses; ++i) relax();
    if (lock.try_lock()) return;
  }
  lock.lock();
}

void monitor::notify_all() noexcept {
  notifications_.fetch_add(1, std::memory_order_release);
  if (sleepers_ > 0) condition_.notify_all();
}

void monitor::wait(unique_lock& lock, wait_mode mode, std::int64_t until_ns) {
  const std::int64_t now = now_ns();
  if (until_ns == never_ns) {
    begin_idle();
    wait_for_notification(lock, mode, now);
    end_idle();
  } else if (mode == wait_mode::block) {
    sleep(lock, std::min(until_ns, now + longest_sleep_ns));
  } else if (until_ns - now > spin_before_ns) {
    sleep(lock, std::min(until_ns - spin_before_ns, now + longest_sleep_ns));
  } else if (until_ns - now <= final_spin_ns) {
    while (now_ns() < until_ns) {  // without relax(), which can take 0.1 us
    }
  } else if (until_ns < leader_until_ns_.load(std::memory_order_relaxed)) {
    wait_as_leader(lock, mode, until_ns);
  } else {
    wait_as_follower(lock, mode, until_ns);
  }
}

void monitor::wait_for_notification(unique_lock& lock, wait_mode mode, std::int64_t now) {
  const std::uint32_t seen = notifications();
  if (mode != wait_mode::block) spin(lock, mode, seen, now + longest_idle_spin_ns);
  if (notifications() == seen) sleep(lock, now + longest_sleep_ns);
}

void monitor::sleep(unique_lock& lock, std::int64_t until_ns) {
  using clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC, as in now_ns()
  ++sleepers_;
  condition_.wait_until(lock, clock::time_point(std::chrono::nanoseconds(until_ns)));
  --sleepers_;
}

void monitor::spin(unique_lock& lock, wait_mode mode, std::uint32_t seen, std::int64_t until_ns) {
  lock.unlock();
  while (notifications() == seen && now_ns() < until_ns) pause(mode);
  relock(lock);
}

void monitor::wait_as_leader(unique_lock& lock, wait_mode mode, std::int64_t until_ns) {
  leader_until_ns_.store(until_ns, std::memory_order_relaxed);
  spin(lock, mode, notifications(), until_ns - final_spin_ns);
  // Meanwhile another worker may have become the leader for an earlier time.
  if (leader_until_ns_.load(std::memory_order_relaxed) == until_ns) {
    leader_until_ns_.store(never_ns, std::memory_order_relaxed);
  }
}

void monitor::wait_as_follower(unique_lock& lock, wait_mode mode, std::int64_t until_ns) {
  const std::uint32_t seen = notifications();
  lock.unlock();
  while (notifications() == seen && now_ns() < until_ns + follower_grace_ns) {
    const std::int64_t leader_until_ns = leader_until_ns_.load(std::memory_order_relaxed);
    if (leader_until_ns != never_ns) until_ns = leader_until_ns;
    pause(mode);
  }
  relock(lock);
}

}  // namespace gpubench
