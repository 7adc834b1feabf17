// Says so where Python cannot go on, because code that runs holds the GIL and keeps it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "gpubench/process.hpp"

// A thread that needs no GIL, for the scope in which another one waits for the core and then asks
// for the GIL back. It calls `over` four times a second. Once that answers true and the GIL has
// been asked for in vain for a second, it writes one line to stderr: `what` is over, Python's lock
// is held, and the process can only be ended from outside.
class gil_watch {
 public:
  // `over` may throw. Throws std::system_error where no thread can be started.
  gil_watch(const char* what, std::function<bool()> over);
  ~gil_watch();  // ends the thread; in a forked child, where it never was, leaves it alone
  gil_watch(const gil_watch&) = delete;
  gil_watch& operator=(const gil_watch&) = delete;

  // The GIL is asked for from now on; it has been given.
  void ask() noexcept;
  void got() noexcept;

  // The longest wait for the GIL so far.
  std::int64_t longest_ns() const noexcept { return longest_ns_; }

  // A shorter wait for the GIL than this is no news: any Python thread may take it for a while.
  static constexpr std::int64_t patience_ns = 1'000'000'000;

 private:
  struct state;
  const gpubench::owner_process owner_;
  std::unique_ptr<state> state_;
  std::int64_t longest_ns_ = 0;
};
