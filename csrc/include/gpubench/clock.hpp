// The clock of all measurements: CLOCK_MONOTONIC in nanoseconds. Every function is thread-safe.
#pragma once

#include <time.h>

#include <cstdint>

namespace gpubench {

// Stands for "never": the clock does not reach this value.
inline constexpr std::int64_t never_ns = INT64_MAX;

// The longest time span that an option accepts (about 31 years). Sums of a few such spans do not
// overflow.
inline constexpr std::int64_t longest_span_ns = 1'000'000'000'000'000'000;

// std::chrono::steady_clock reads the same clock; this avoids a call into the C++ library.
inline std::int64_t now_ns() noexcept {
  timespec now;  // NOLINT(cppcoreguidelines-pro-type-member-init): the next call writes it
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Tells the processor that the thread is in a busy wait.
inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Sleeps until `until_ns`. Does not wake early; wakes 20 to 80 us late, because of the kernel.
void sleep_until_ns(std::int64_t until_ns) noexcept;

// Reads the clock in a loop until `until_ns`. Returns less than 0.1 us late and uses a whole core.
inline void spin_until_ns(std::int64_t until_ns) noexcept {
  while (now_ns() < until_ns) relax();
}

// CPU time of all threads of this process.
std::int64_t process_cpu_ns() noexcept;

// Sets the timer slack of this thread to 1 ns. The kernel may delay a timer by the slack, to
// combine it with others. The default of 50 us causes half of the lag of a plain sleep.
void set_least_timer_slack() noexcept;

}  // namespace gpubench
