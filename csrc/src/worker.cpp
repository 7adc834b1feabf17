#include "worker.hpp"

#include <algorithm>
#include <exception>
#include <mutex>

namespace gpubench {
namespace {

// From the time when the last worker is ready to the start of the clock. Workers that sleep wake in
// this time.
constexpr std::int64_t start_delay_ns = 200'000;

// The time between two polls of an asynchronous executor in wait_mode::block.
constexpr std::int64_t poll_interval_ns = 20'000;

// The loop of one worker in one run.
class worker_loop {
 public:
  worker_loop(worker& me, active_run& current)
      : me_(me),
        backend_(*me.backend),
        current_(current),
        queue_(current.queue),
        run_(current.run),
        device_times_(backend_.has_device_times()) {}

  void run() {
    wait_for_start();
    batch_slot* completed = nullptr;  // its batch is complete and the source does not know it yet
    bool idle = false;
    bool looking = false;  // for a batch, since opened_ns
    std::int64_t opened_ns = 0;
    std::unique_lock<std::mutex> lock;
    for (;;) {
      if (!lock) lock = queue_.lock();
      if (me_.abandoned) return;
      if (idle) queue_.end_idle();
      if (completed != nullptr) complete(*completed);

      decision decided{decision::kind::wait};
      batch_slot* const free = free_slot();
      if (free != nullptr) {
        if (!looking) opened_ns = completed != nullptr ? completed->completed_ns : now_ns();
        looking = true;
        const std::int64_t departed_ns = now_ns();
        decided = run_.next(departed_ns, free->requests.data());
        if (decided.what == decision::kind::dispatch) {
          looking = false;
          free->opened_ns = opened_ns;
          free->departed_ns = departed_ns;
          free->size = decided.count;
          ++in_flight_;
        }
      }
      completed = nullptr;
      notify_idle_workers();
      idle = false;
      if (in_flight_ == 0) {
        if (decided.what == decision::kind::finished) break;
        queue_.wait(lock, current_.waiting, decided.until_ns);
      } else if (decided.what == decision::kind::dispatch) {
        lock.unlock();
        if (submit(*free)) completed = free;
      } else {
        idle = free != nullptr && decided.what == decision::kind::wait;
        if (idle) queue_.begin_idle();
        const std::uint32_t seen = queue_.notifications();
        lock.unlock();
        completed = poll(free != nullptr, seen, decided.until_ns);
      }
    }
    convert_device_times();
  }

 private:
  // The clock starts when the last worker is ready.
  void wait_for_start() {
    auto lock = queue_.lock();
    if (++current_.ready == current_.workers) {
      run_.begin(now_ns() + start_delay_ns);
      queue_.notify_all();
    }
    while (!run_.begun()) queue_.wait(lock, wait_mode::block, never_ns);
  }

  // Tells the source that the batch in `slot` has completed, and frees the slot.
  void complete(batch_slot& slot) {
    run_.complete(slot.requests.data(), slot.size, slot.completed_ns);
    me_.stamps->publish();
    slot.size = 0;
    --in_flight_;
  }

  // A worker that waits for a known time need not be woken: requests that come later are due later,
  // and the worker that adds them looks at the queue itself immediately afterwards.
  void notify_idle_workers() {
    if (queue_.idle() > 0 && (run_.ended() || current_.source->any_waiting())) queue_.notify_all();
  }

  batch_slot* free_slot() {
    if (in_flight_ == me_.slots.size()) return nullptr;
    for (batch_slot& slot : me_.slots) {
      if (slot.size == 0) return &slot;
    }
    return nullptr;
  }

  // Hands the batch to the executor. Returns whether it is complete already.
  bool submit(batch_slot& slot) {
    if (in_flight_ == 1) me_.busy_since_ns.store(slot.departed_ns, std::memory_order_relaxed);
    try {
      backend_.fill(slot.number, slot.requests.data(), slot.size);
      const std::int64_t submitted_ns = now_ns();
      slot.submitted_ns = submitted_ns;
      const batch_view batch{slot.requests.data(), slot.size, submitted_ns};
      if (backend_.start(slot.number, batch) == batch_state::running) return false;
      record(slot);
      return true;
    } catch (...) {
      fail(slot);
      return false;
    }
  }

  // Polls the batches in flight until one is complete, and returns its slot. Returns null if the
  // queue must be looked at before.
  batch_slot* poll(bool can_dispatch, std::uint32_t seen, std::int64_t until_ns) {
    while (in_flight_ > 0 && !me_.abandoned) {
      for (batch_slot& slot : me_.slots) {
        if (slot.size == 0) continue;
        try {
          if (backend_.poll(slot.number) == batch_state::running) continue;
          record(slot);
          return &slot;
        } catch (...) {
          fail(slot);
          return nullptr;
        }
      }
      if (can_dispatch && (queue_.notifications() != seen || now_ns() >= until_ns)) return nullptr;
      pause(until_ns);
    }
    return nullptr;
  }

  void pause(std::int64_t until_ns) const {
    switch (current_.waiting) {
      case wait_mode::spin:
        relax();
        break;
      case wait_mode::yield:
        std::this_thread::yield();
        break;
      case wait_mode::block:
        sleep_until_ns(std::min(now_ns() + poll_interval_ns, until_ns));
        break;
    }
  }

  // Writes the batch in `slot`, which has just completed, into the timeline. If device_times()
  // throws, nothing is written.
  void record(batch_slot& slot) {
    slot.completed_ns = now_ns();
    if (device_times_) me_.stamps->append(backend_.device_times(slot.number));
    me_.stamps->append(
        {slot.opened_ns, slot.departed_ns, slot.submitted_ns, slot.completed_ns, 0, slot.size},
        slot.requests.data());
    update_busy_since(slot);
  }

  // The batch in `ended` is no longer in flight.
  void update_busy_since(const batch_slot& ended) {
    std::int64_t oldest_ns = 0;
    if (in_flight_ > 1) {
      for (const batch_slot& slot : me_.slots) {
        if (&slot == &ended || slot.size == 0) continue;
        if (oldest_ns == 0 || slot.departed_ns < oldest_ns) oldest_ns = slot.departed_ns;
      }
    }
    me_.busy_since_ns.store(oldest_ns, std::memory_order_relaxed);
  }

  // Ends the run: the executor threw an exception while it had the batch in `slot`.
  void fail(batch_slot& slot) {
    const std::string error = with_worker_name(me_, current_message());
    update_busy_since(slot);
    const auto lock = queue_.lock();
    if (me_.abandoned) return;
    run_.fail(end_reason::error, error, now_ns());
    run_.add_unfinished(slot.requests.data(), slot.size, true);
    slot.size = 0;
    --in_flight_;
    queue_.notify_all();
  }

  void convert_device_times() {
    if (!device_times_) return;
    timeline& stamps = *me_.stamps;
    me_.busy_since_ns.store(now_ns(), std::memory_order_relaxed);
    try {
      stamps.publish_stamps(
          backend_.to_host_clock(stamps.batches(), stamps.stamps(), stamps.batch_count()));
    } catch (...) {
      const auto lock = queue_.lock();
      run_.fail(end_reason::error, with_worker_name(me_, current_message()), now_ns());
    }
    me_.busy_since_ns.store(0, std::memory_order_relaxed);
  }

  worker& me_;
  executor& backend_;
  active_run& current_;
  monitor& queue_;
  session& run_;
  const bool device_times_;
  std::size_t in_flight_ = 0;
};

}  // namespace

std::string with_worker_name(const worker& which, const std::string& problem) {
  return "worker " + std::to_string(which.index) + ": " + problem;
}

std::string current_message() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

void run_worker_loop(worker& me, active_run& current) {
  worker_loop(me, current).run();
}

}  // namespace gpubench
