#include "gpubench/runner.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "gpubench/clock.hpp"
#include "gpubench/error.hpp"
#include "memory.hpp"
#include "session.hpp"

namespace gpubench {
namespace {

using namespace std::chrono_literals;

// Between the moment when the last worker stands ready and the start of the clock: time for those
// that sleep to wake.
constexpr std::int64_t lead_ns = 200'000;

// How often wait_for() looks for workers past their deadline.
constexpr std::chrono::nanoseconds watch_interval = 50ms;

// Pause between two polls of an asynchronous executor where workers block.
constexpr std::int64_t poll_pause_ns = 20'000;

std::atomic<int> abandoned_count{0};

// A place for a batch in flight.
struct flight_slot {
  std::size_t number = 0;
  std::vector<request> requests;  // max_batch
  std::uint32_t size = 0;         // requests in flight; 0: free
  std::int64_t opened_ns = 0;
  std::int64_t departed_ns = 0;
  std::int64_t submitted_ns = 0;
  std::int64_t completed_ns = 0;
};

struct worker {
  std::size_t index = 0;
  std::shared_ptr<executor> backend;
  std::thread thread;

  // When the oldest batch in flight was submitted; 0 where there is none. A thread that does not
  // come back from its executor is recognised by this alone.
  std::atomic<std::int64_t> busy_since_ns{0};

  // Set once, under the source's lock; from then on the thread changes nothing that others see.
  std::atomic<bool> abandoned{false};

  bool closed = false;  // the thread is at its end; guarded by the crew's lock

  // Of the current run. While it goes on: the thread's own, but that a slot is taken and freed
  // under the source's lock.
  std::vector<flight_slot> slots;
  std::shared_ptr<timeline> stamps;
};

// One run of all workers.
struct active_run {
  active_run(std::shared_ptr<request_source> from, const run_options& options, wait_mode mode,
             std::size_t worker_count)
      : source(std::move(from)),
        queue(source->queue()),
        run(*source, options),
        waiting(mode),
        workers(worker_count) {}

  const std::shared_ptr<request_source> source;
  monitor& queue;
  session run;  // guarded by queue
  const wait_mode waiting;
  const std::size_t workers;
  std::size_t ready = 0;                           // workers; guarded by queue
  std::atomic<std::int64_t> give_up_ns{never_ns};  // when the grace of stop() ends
  std::int64_t start_cpu_ns = 0;
};

std::string named(const worker& which, const std::string& problem) {
  return "worker " + std::to_string(which.index) + ": " + problem;
}

// What the exception in flight says.
std::string current_message() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

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
    for (;;) {
      auto lock = queue_.lock();
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
      if (!backend_.start(slot.number, batch)) return false;
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
          if (!backend_.poll(slot.number)) continue;
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

  void pause(std::int64_t until_ns) {
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

// Keeps what an abandoned thread may still use; on purpose never destroyed, not even at exit.
void keep_for_ever(std::shared_ptr<void> kept) {
  static std::mutex mutex;
  static auto& all = *new std::vector<std::shared_ptr<void>>;
  const std::lock_guard<std::mutex> lock(mutex);
  all.push_back(std::move(kept));
}

}  // namespace

// What the runner and its threads share. The threads keep it alive.
class runner::crew : public std::enable_shared_from_this<runner::crew> {
 public:
  crew(std::vector<std::shared_ptr<executor>> executors, wait_mode waiting) : waiting_(waiting) {
    if (executors.empty()) {
      throw invalid_argument("executors is empty; give one executor per worker");
    }
    std::set<const executor*> seen;
    for (std::size_t i = 0; i < executors.size(); ++i) {
      if (executors[i] == nullptr || !seen.insert(executors[i].get()).second) {
        throw invalid_argument("executors[" + std::to_string(i) +
                               "] is absent or given twice; give every worker its own executor");
      }
      if (executors[i]->depth() == 0) {
        throw invalid_argument("executors[" + std::to_string(i) +
                               "] has depth 0; an executor takes at least 1 batch at a time");
      }
      workers_.push_back(std::make_unique<worker>());
      workers_.back()->index = i;
      workers_.back()->backend = std::move(executors[i]);
    }
  }

  void start_threads() {
    for (auto& each : workers_) {
      const std::lock_guard<std::mutex> lock(mutex_);
      each->thread = std::thread([self = shared_from_this(), &me = *each] { self->work(me); });
      ++opening_;
      ++alive_;
    }
  }

  bool wait_open(std::chrono::nanoseconds timeout) {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool open = changed_.wait_for(lock, timeout, [this] { return opening_ == 0; });
    if (open_error_) throw runner_error(*open_error_);
    return open;
  }

  void start(std::shared_ptr<request_source> source, const run_options& options) {
    check(options);
    if (source == nullptr) throw invalid_argument("source is absent; give a request source");
    if (!wait_open(std::chrono::nanoseconds(options.batch_deadline_ns))) {
      throw runner_error("the executors were not open within the batch deadline");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) throw runner_error("the runner is closed; make a new one");
    if (broken_) {
      throw runner_error(
          "the runner had to abandon a worker, which may still run; make a new runner with new "
          "executors");
    }
    if (current_ != nullptr) throw runner_error("a run is in progress; finish it first");
    auto next = std::make_shared<active_run>(std::move(source), options, waiting_, workers_.size());
    take_memory(options);
    next->start_cpu_ns = process_cpu_ns();
    current_ = std::move(next);
    busy_ = workers_.size();
    ++runs_;
    changed_.notify_all();
  }

  bool wait_for(std::chrono::nanoseconds timeout) {
    const auto end =
        std::chrono::steady_clock::now() + std::min<std::chrono::nanoseconds>(timeout, 8760h);
    std::unique_lock<std::mutex> lock(mutex_);
    while (busy_ > 0) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= end) return false;
      changed_.wait_until(lock, std::min(now + watch_interval, end), [this] { return busy_ == 0; });
      abandon_overdue();
    }
    return true;
  }

  void stop(std::chrono::nanoseconds grace) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (current_ == nullptr) return;
    const std::int64_t now = now_ns();
    current_->give_up_ns = now + std::min<std::int64_t>(grace.count(), longest_span_ns);
    const auto queue_lock = current_->queue.lock();
    current_->run.end(end_reason::stopped, now);
    current_->queue.notify_all();
  }

  outcome finish() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (current_ == nullptr || busy_ > 0) {
      throw runner_error("there is no run to finish; start() one and wait_for() its end");
    }
    const auto ended = std::move(current_);
    current_ = nullptr;
    if (broken_) keep_for_ever(ended);
    const auto queue_lock = ended->queue.lock();
    for (auto& each : workers_) {
      for (const flight_slot& slot : each->slots) {
        ended->run.lose(slot.requests.data(), slot.size, false);
      }
    }
    outcome result = ended->run.finish();
    for (auto& each : workers_) {
      result.timelines.push_back(each->stamps);
      if (!broken_) each->stamps = nullptr;
    }
    result.cpu_seconds = static_cast<double>(process_cpu_ns() - ended->start_cpu_ns) * 1e-9;
    return result;
  }

  void close(std::chrono::nanoseconds grace) {
    stop(grace);
    wait_for(grace + watch_interval);
    std::unique_lock<std::mutex> lock(mutex_);
    closing_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, grace, [this] { return alive_ == 0; });
    for (auto& each : workers_) {
      if (!each->thread.joinable()) continue;
      if (each->closed) {
        lock.unlock();
        each->thread.join();
        lock.lock();
      } else {
        abandon(*each);
      }
    }
  }

 private:
  void work(worker& me) {
    set_least_timer_slack();
    std::optional<std::string> open_error;
    try {
      me.backend->open();
    } catch (...) {
      open_error = named(me, current_message());
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (me.abandoned) return;
    --opening_;
    if (open_error && !open_error_) open_error_ = open_error;
    changed_.notify_all();

    std::size_t seen = 0;
    for (;;) {
      changed_.wait(lock, [&] { return closing_ || runs_ != seen; });
      if (runs_ == seen) break;
      seen = runs_;
      auto current = current_;
      lock.unlock();
      take_part(me, *current);
      lock.lock();
      current = nullptr;
      if (me.abandoned) return;
      --busy_;
      changed_.notify_all();
    }

    lock.unlock();
    if (!open_error) close(*me.backend);
    lock.lock();
    if (me.abandoned) return;
    me.closed = true;
    --alive_;
    changed_.notify_all();
  }

  static void take_part(worker& me, active_run& current) {
    try {
      turns(me, current).take_all();
    } catch (...) {  // a source that somebody else wrote
      const auto lock = current.queue.lock();
      current.run.fail(end_reason::error, named(me, current_message()), now_ns());
      current.queue.notify_all();
    }
  }

  // The run's outcome is out, so an error here has no place any more.
  static void close(executor& backend) {
    try {
      backend.close();
    } catch (...) {
    }
  }

  // Allocates all that the run will write to.
  void take_memory(const run_options& options) {
    std::size_t depth = 0;
    bool device_times = false;
    for (const auto& each : workers_) {
      depth += each->backend->depth();
      device_times = device_times || each->backend->has_device_times();
    }
    const std::size_t record_bytes =
        sizeof(request) + sizeof(batch_record) + (device_times ? sizeof(device_stamps) : 0);
    require_memory(options.capacity, record_bytes, "capacity " + std::to_string(options.capacity),
                   "lower capacity");
    require_memory(options.batch.max_batch, depth * sizeof(request),
                   "max_batch " + std::to_string(options.batch.max_batch), "lower max_batch");

    // Any worker may come to serve all requests, and a batch that departs with the last free place
    // may be larger than that; the pages touched are those of an equal share.
    const std::size_t capacity = options.capacity + options.batch.max_batch - 1;
    const std::size_t share = options.capacity / workers_.size() + 1;
    try {
      for (auto& each : workers_) {
        each->slots.assign(each->backend->depth(), {});
        for (std::size_t i = 0; i < each->slots.size(); ++i) {
          each->slots[i].number = i;
          each->slots[i].requests.resize(options.batch.max_batch);
        }
        each->stamps = std::make_shared<timeline>(capacity, share, options.batch.max_batch,
                                                  each->backend->has_device_times());
      }
    } catch (const std::bad_alloc&) {
      throw invalid_argument("capacity " + std::to_string(options.capacity) +
                             " is more than memory allows; lower it");
    }
  }

  // REQUIRES: mutex_ is held.
  void abandon_overdue() {
    if (current_ == nullptr) return;
    const auto queue_lock = current_->queue.lock();
    const std::int64_t now = now_ns();
    const std::int64_t deadline_ns = current_->run.options().batch_deadline_ns;
    for (auto& each : workers_) {
      const std::int64_t since_ns = each->busy_since_ns;
      if (since_ns == 0 || each->abandoned) continue;
      if (now - since_ns > deadline_ns) {
        char seconds[32];
        std::snprintf(seconds, sizeof seconds, "%g", static_cast<double>(deadline_ns) * 1e-9);
        current_->run.fail(end_reason::deadline,
                           named(*each, "a batch did not complete within " + std::string(seconds) +
                                            " s; its thread is abandoned"),
                           now);
        current_->queue.notify_all();
      } else if (now <= current_->give_up_ns) {
        continue;
      }
      abandon(*each);
      --busy_;
    }
  }

  // REQUIRES: mutex_ is held, and the source's lock where a run is in progress.
  void abandon(worker& lost) {
    lost.abandoned = true;
    lost.thread.detach();
    --alive_;
    broken_ = true;
    ++abandoned_count;
    keep_for_ever(shared_from_this());
  }

  const wait_mode waiting_;
  std::vector<std::unique_ptr<worker>> workers_;

  std::mutex mutex_;  // guards all below; taken before the source's lock where both are
  std::condition_variable changed_;
  std::shared_ptr<active_run> current_;
  std::optional<std::string> open_error_;
  std::size_t opening_ = 0;  // workers whose executor is not open yet
  std::size_t busy_ = 0;     // workers in the current run
  std::size_t alive_ = 0;    // workers not closed yet
  std::size_t runs_ = 0;     // started so far
  bool closing_ = false;
  bool broken_ = false;  // a worker was abandoned
};

runner::runner(std::vector<std::shared_ptr<executor>> executors, wait_mode waiting)
    : crew_(std::make_shared<crew>(std::move(executors), waiting)) {
  try {
    crew_->start_threads();
  } catch (const std::system_error& error) {
    close();
    throw runner_error(std::string("a worker's thread could not be started: ") + error.what() +
                       "; use fewer workers");
  }
}

runner::~runner() {
  close();
}

bool runner::wait_open(std::chrono::nanoseconds timeout) {
  return crew_->wait_open(timeout);
}

outcome runner::run(std::shared_ptr<request_source> source, const run_options& options) {
  start(std::move(source), options);
  while (!wait_for(1h)) {
  }
  return finish();
}

void runner::start(std::shared_ptr<request_source> source, const run_options& options) {
  crew_->start(std::move(source), options);
}

bool runner::wait_for(std::chrono::nanoseconds timeout) {
  return crew_->wait_for(timeout);
}

void runner::stop(std::chrono::nanoseconds grace) noexcept {
  crew_->stop(grace);
}

outcome runner::finish() {
  return crew_->finish();
}

void runner::close(std::chrono::nanoseconds grace) noexcept {
  crew_->close(grace);
}

int abandoned_workers() noexcept {
  return abandoned_count;
}

}  // namespace gpubench
