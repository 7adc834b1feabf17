#include "worker.hpp"

#include <algorithm>
#include <exception>
#include <mutex>

namespace gpubench {
namespace {

// Between the moment when the last worker stands ready and the start of the clock: time for those
// that sleep to wake.
constexpr std::int64_t lead_ns = 200'000;

// Pause between two polls of an asynchronous executor where workers block.
constexpr std::int64_t poll_pause_ns = 20'000;

// One worker's part of one run.
class turns {
 public:
  turns(worker& me, active_run& current)
      : me_(me),
        backend_(*me.backend),
        current_(current),
        queue_(current.queue),
        run_(current.run),
        device_times_(backend_.has_device_times()) {}

  void take_all() {
    stand_ready();
    flight_slot* done = nullptr;  // complete, and not yet handed in
    bool idle = false;
    bool asking = false;  // for a batch, since opened_ns
    std::int64_t opened_ns = 0;
    std::unique_lock<std::mutex> lock;
    for (;;) {
      if (!lock) lock = queue_.lock();
      if (me_.abandoned) return;
      if (idle) queue_.end_idle();
      if (done != nullptr) hand_in(*done);

      answer told{answer::kind::wait};
      flight_slot* const free = free_slot();
      if (free != nullptr) {
        if (!asking) opened_ns = done != nullptr ? done->completed_ns : now_ns();
        asking = true;
        const std::int64_t departed_ns = now_ns();
        told = run_.next(departed_ns, free->requests.data());
        if (told.what == answer::kind::dispatch) {
          asking = false;
          free->opened_ns = opened_ns;
          free->departed_ns = departed_ns;
          free->size = told.count;
          ++in_flight_;
        }
      }
      done = nullptr;
      call_others();
      idle = false;
      if (in_flight_ == 0) {
        if (told.what == answer::kind::finished) break;
        queue_.wait(lock, current_.waiting, told.until_ns);
      } else if (told.what == answer::kind::dispatch) {
        lock.unlock();
        if (submit(*free)) done = free;
      } else {
        idle = free != nullptr && told.what == answer::kind::wait;
        if (idle) queue_.begin_idle();
        const std::uint32_t seen = queue_.changes();
        lock.unlock();
        done = watch(free != nullptr, seen, told.until_ns);
      }
    }
    place_device_times();
  }

 private:
  // The clock starts when the last worker stands ready.
  void stand_ready() {
    auto lock = queue_.lock();
    if (++current_.ready == current_.workers) {
      run_.begin(now_ns() + lead_ns);
      queue_.notify_all();
    }
    while (!run_.begun()) queue_.wait(lock, wait_mode::block, never_ns);
  }

  void hand_in(flight_slot& done) {
    run_.complete(done.requests.data(), done.size, done.completed_ns);
    me_.stamps->publish();
    done.size = 0;
    --in_flight_;
  }

  // A worker that waits for a known moment need not be called: what comes later is due later, and
  // whoever brings it asks the queue right afterwards.
  void call_others() {
    if (queue_.idle() > 0 && (run_.ended() || current_.source->any_waiting())) queue_.notify_all();
  }

  flight_slot* free_slot() {
    if (in_flight_ == me_.slots.size()) return nullptr;
    for (flight_slot& slot : me_.slots) {
      if (slot.size == 0) return &slot;
    }
    return nullptr;
  }

  // Hands the batch to the executor. Whether it is complete already.
  bool submit(flight_slot& slot) {
    const std::int64_t submitted_ns = now_ns();
    slot.submitted_ns = submitted_ns;
    if (in_flight_ == 1) me_.busy_since_ns.store(submitted_ns, std::memory_order_relaxed);
    try {
      const batch_view batch{slot.requests.data(), slot.size, submitted_ns};
      if (backend_.start(slot.number, batch) == batch_state::running) return false;
      record(slot);
      return true;
    } catch (...) {
      fail(slot);
      return false;
    }
  }

  // Polls the batches in flight until one is complete and returned, or there is reason to ask the
  // queue again.
  flight_slot* watch(bool may_take, std::uint32_t seen, std::int64_t until_ns) {
    while (in_flight_ > 0 && !me_.abandoned) {
      for (flight_slot& slot : me_.slots) {
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
      if (may_take && (queue_.changes() != seen || now_ns() >= until_ns)) return nullptr;
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
        sleep_until_ns(std::min(now_ns() + poll_pause_ns, until_ns));
        break;
    }
  }

  // The batch in `slot` has just completed. Throws what device_times() throws, with nothing
  // written.
  void record(flight_slot& slot) {
    slot.completed_ns = now_ns();
    if (device_times_) me_.stamps->append(backend_.device_times(slot.number));
    me_.stamps->append(
        {slot.opened_ns, slot.departed_ns, slot.submitted_ns, slot.completed_ns, 0, slot.size},
        slot.requests.data());
    update_busy_since(slot);
  }

  // The batch in `left_out` is no longer in flight.
  void update_busy_since(const flight_slot& left_out) {
    std::int64_t oldest_ns = 0;
    if (in_flight_ > 1) {
      for (const flight_slot& slot : me_.slots) {
        if (&slot == &left_out || slot.size == 0) continue;
        const std::int64_t submitted_ns = slot.submitted_ns;
        if (oldest_ns == 0 || submitted_ns < oldest_ns) oldest_ns = submitted_ns;
      }
    }
    me_.busy_since_ns.store(oldest_ns, std::memory_order_relaxed);
  }

  // The executor threw while it had the batch in `slot`.
  void fail(flight_slot& slot) {
    const std::string error = named(me_, current_message());
    update_busy_since(slot);
    const auto lock = queue_.lock();
    if (me_.abandoned) return;
    run_.fail(end_reason::error, error, now_ns());
    run_.lose(slot.requests.data(), slot.size, true);
    slot.size = 0;
    --in_flight_;
    queue_.notify_all();
  }

  void place_device_times() {
    if (!device_times_) return;
    timeline& stamps = *me_.stamps;
    me_.busy_since_ns.store(now_ns(), std::memory_order_relaxed);
    try {
      stamps.publish_stamps(
          backend_.to_host_clock(stamps.batches(), stamps.stamps(), stamps.batch_count()));
    } catch (...) {
      const auto lock = queue_.lock();
      run_.fail(end_reason::error, named(me_, current_message()), now_ns());
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

std::string named(const worker& which, const std::string& problem) {
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

void take_turns(worker& me, active_run& current) {
  turns(me, current).take_all();
}

}  // namespace gpubench
