#include "gil_watchdog.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <utility>

#include "gpubench/clock.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::chrono::nanoseconds interval = 250ms;

void report(const char* what) {
  char line[256];
  const int length = std::snprintf(
      line, sizeof line,
      "gpubench: %s is over, but code that does not return holds Python's global lock (GIL), so "
      "Python cannot go on; to end this process: kill -9 %d\n",
      what, static_cast<int>(getpid()));
  // Bypasses the buffers of Python and of C: other threads may hold their locks.
  if (length > 0 && write(STDERR_FILENO, line, static_cast<std::size_t>(length)) < 0) return;
}

}  // namespace

struct gil_watchdog::state {
  const char* what;
  std::function<bool()> finished;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;                              // guarded by mutex
  std::atomic<std::int64_t> waiting_since_ns{0};  // 0: nobody waits for the GIL
  std::thread thread;

  state(const char* watched, std::function<bool()> is_finished)
      : what(watched), finished(std::move(is_finished)) {}

  void watch() {
    std::unique_lock<std::mutex> lock(mutex);
    bool reported = false;
    while (!changed.wait_for(lock, interval, [this] { return done; })) {
      lock.unlock();
      if (!reported && is_finished()) {
        const std::int64_t since_ns = waiting_since_ns;
        reported = since_ns != 0 && gpubench::now_ns() - since_ns > patience_ns;
        if (reported) report(what);
      }
      lock.lock();
    }
  }

  bool is_finished() const noexcept {
    try {
      return finished();
    } catch (...) {
      return false;
    }
  }
};

gil_watchdog::gil_watchdog(const char* what, std::function<bool()> finished)
    : state_(std::make_unique<state>(what, std::move(finished))) {
  state_->thread = std::thread([watched = state_.get()] { watched->watch(); });
}

gil_watchdog::~gil_watchdog() {
  if (!owner_.is_current()) {
    state_.release();
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->done = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
}

void gil_watchdog::begin_wait() noexcept {
  state_->waiting_since_ns = gpubench::now_ns();
}

void gil_watchdog::end_wait() noexcept {
  const std::int64_t since_ns = state_->waiting_since_ns.exchange(0);
  if (since_ns != 0) {
    longest_wait_ns_ = std::max(longest_wait_ns_, gpubench::now_ns() - since_ns);
  }
}
