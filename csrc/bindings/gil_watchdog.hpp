// Reports on stderr when Python cannot continue because other code does not release the GIL.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "gpubench/process.hpp"

// A thread that needs no GIL. It runs while another thread waits for the core and then for the GIL.
// It calls `finished` four times a second. If that returns true and the other thread has waited for
// the GIL for a second, the watchdog writes one line to stderr: `what` is over, the GIL is held,
// and the process can only be ended from outside.
class gil_watchdog {
 public:
  // `finished` may throw. Throws std::system_error if no thread can be started.
  gil_watchdog(const char* what, std::function<bool()> finished);
  ~gil_watchdog();  // joins the thread; in a forked child, which does not have it, leaves it alone
  gil_watchdog(const gil_watchdog&) = delete;
  gil_watchdog& operator=(const gil_watchdog&) = delete;

  // The other thread begins to wait for the GIL, and has got it.
  void begin_wait() noexcept;
  void end_wait() noexcept;

  // The longest wait for the GIL so far.
  std::int64_t longest_wait_ns() const noexcept { return longest_wait_ns_; }

  // A shorter wait for the GIL is normal: any Python thread may hold it for a while.
  static constexpr std::int64_t patience_ns = 1'000'000'000;

 private:
  struct state;
  const gpubench::owner_process owner_;
  std::unique_ptr<state> state_;
  std::int64_t longest_wait_ns_ = 0;
};
