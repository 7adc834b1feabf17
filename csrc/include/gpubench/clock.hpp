// The one clock: nanoseconds of CLOCK_MONOTONIC. Every function is safe from any thread.
#pragma once

#include <time.h>

#include <cstdint>

namespace gpubench {

// No moment of the clock lies so far ahead: stands for "never".
inline constexpr std::int64_t never_ns = INT64_MAX;

// Longest time span that any option takes (about 31 years), so that sums cannot overflow.
inline constexpr std::int64_t longest_span_ns = 1'000'000'000'000'000'000;

// std::chrono::steady_clock is the same clock; this spares a call through the C++ library.
inline std::int64_t now_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Tells the processor that this is a busy wait.
inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Sleeps until `moment_ns`: never wakes early, wakes late by what the kernel takes (20 to 80 us).
void sleep_until_ns(std::int64_t moment_ns) noexcept;

// Watches the clock until `moment_ns`, which costs a whole core and is late by less than 0.1 us.
inline void spin_until_ns(std::int64_t moment_ns) noexcept {
  while (now_ns() < moment_ns) relax();
}

// CPU time of this process, all threads.
std::int64_t process_cpu_ns() noexcept;

// Asks the kernel not to delay this thread's timers in order to join them with others: its default
// is 50 us, half of the lag of a plain sleep.
void set_least_timer_slack() noexcept;

}  // namespace gpubench
