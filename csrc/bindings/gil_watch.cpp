#include "gil_watch.hpp"

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

void tell(const char* what) {
  char line[256];
  const int length = std::snprintf(
      line, sizeof line,
      "gpubench: %s is over, but code that does not return holds Python's global lock (GIL), so "
      "Python cannot go on; to end this process: kill -9 %d\n",
      what, static_cast<int>(getpid()));
  // Past Python's and C's buffers, whose locks others may hold.
  if (length > 0 && write(STDERR_FILENO, line, static_cast<std::size_t>(length)) < 0) return;
}

}  // namespace

struct gil_watch::state {
  const char* what;
  std::function<bool()> over;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;  // guarded by mutex
  std::atomic<std::int64_t> asked_ns{0};
  std::thread thread;

  state(const char* watched, std::function<bool()> is_over)
      : what(watched), over(std::move(is_over)) {}

  void watch() {
    std::unique_lock<std::mutex> lock(mutex);
    bool told = false;
    while (!changed.wait_for(lock, interval, [this] { return done; })) {
      lock.unlock();
      if (!told && is_over()) {
        const std::int64_t since_ns = asked_ns;
        told = since_ns != 0 && gpubench::now_ns() - since_ns > patience_ns;
        if (told) tell(what);
      }
      lock.lock();
    }
  }

  bool is_over() const noexcept {
    try {
      return over();
    } catch (...) {
      return false;
    }
  }
};

gil_watch::gil_watch(const char* what, std::function<bool()> over)
    : state_(std::make_unique<state>(what, std::move(over))) {
  state_->thread = std::thread([watched = state_.get()] { watched->watch(); });
}

gil_watch::~gil_watch() {
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

void gil_watch::ask() noexcept {
  state_->asked_ns = gpubench::now_ns();
}

void gil_watch::got() noexcept {
  const std::int64_t asked_ns = state_->asked_ns.exchange(0);
  if (asked_ns != 0) longest_ns_ = std::max(longest_ns_, gpubench::now_ns() - asked_ns);
}
