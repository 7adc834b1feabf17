#include "gpubench/runner.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
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
#include "worker.hpp"

namespace gpubench {
namespace {

// How often wait_for() looks for workers that have exceeded the deadline.
constexpr std::int64_t watch_interval_ns = 50'000'000;

constexpr std::int64_t hour_ns = 3'600'000'000'000;

// A time span for the C++ library. The sum of a time and of two such spans does not overflow.
std::chrono::nanoseconds span(std::int64_t ns) {
  return std::chrono::nanoseconds(std::clamp<std::int64_t>(ns, 0, longest_span_ns));
}

std::atomic<int> abandoned_count{0};

// Keeps objects that abandoned threads can still use. They are deliberately never destroyed, not
// even at exit. The list has no mutex, because a mutex can stay locked for ever in a forked child.
void leak(std::shared_ptr<void> kept) {
  struct node {
    std::shared_ptr<void> kept;
    node* next;
  };
  static std::atomic<node*> all{nullptr};
  node* const added = std::make_unique<node>(node{std::move(kept), all}).release();
  while (!all.compare_exchange_weak(added->next, added)) {
  }
}

}  // namespace

// The state that the runner and its threads share. The threads keep it alive.
class runner::implementation : public std::enable_shared_from_this<runner::implementation> {
 public:
  implementation(std::vector<std::shared_ptr<executor>> executors, wait_mode waiting)
      : waiting_(waiting) {
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
      workers_.push_back(std::make_unique<worker>(i, std::move(executors[i])));
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

  bool wait_open(std::int64_t timeout_ns) {
    require_outside();
    std::unique_lock<std::mutex> lock(mutex_);
    const bool open = changed_.wait_for(lock, span(timeout_ns), [this] { return opening_ == 0; });
    if (open_error_) throw runner_error(*open_error_);
    return open;
  }

  void start(std::shared_ptr<request_source> source, const run_options& options) {
    require_outside();
    check(options);
    if (source == nullptr) throw invalid_argument("source is absent; give a request source");
    if (!wait_open(options.batch_deadline_ns)) {
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
    allocate(options);
    next->start_cpu_ns = process_cpu_ns();
    current_ = std::move(next);
    busy_ = workers_.size();
    for (auto& each : workers_) each->in_run = true;
    ++runs_;
    changed_.notify_all();
  }

  bool wait_for(std::int64_t timeout_ns) {
    require_outside();
    const auto end = std::chrono::steady_clock::now() + span(timeout_ns);
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      abandon_overdue();
      if (busy_ == 0) return true;
      const auto now = std::chrono::steady_clock::now();
      if (now >= end) return false;
      changed_.wait_until(lock, std::min(now + span(watch_interval_ns), end),
                          [this] { return busy_ == 0; });
    }
  }

  void stop(std::int64_t grace_ns) {
    owner_.require_current("this runner");
    const std::lock_guard<std::mutex> lock(mutex_);
    if (current_ == nullptr) return;
    const std::int64_t now = now_ns();
    current_->abandon_at_ns = now + span(grace_ns).count();
    const auto queue_lock = current_->queue.lock();
    current_->run.end(end_reason::stopped, now);
    current_->queue.notify_all();
  }

  outcome finish() {
    require_outside();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (current_ == nullptr || busy_ > 0) {
      throw runner_error("there is no run to finish; start() one and wait_for() its end");
    }
    const auto ended = std::move(current_);
    current_ = nullptr;
    if (broken_) leak(ended);
    const auto queue_lock = ended->queue.lock();
    for (auto& each : workers_) {
      for (const batch_slot& slot : each->slots) {
        ended->run.add_unfinished(slot.requests.data(), slot.size, false);
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

  void close(std::int64_t grace_ns) {
    if (!owner_.is_current()) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closing_ = true;
      changed_.notify_all();
    }
    stop(grace_ns);
    if (on_own_thread()) return;  // the thread cannot wait for itself
    static_cast<void>(wait_for(span(grace_ns).count() + watch_interval_ns));
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, span(grace_ns), [this] { return alive_ == 0; });
    for (auto& each : workers_) {
      if (!each->thread.joinable()) continue;
      if (each->closed) {
        std::thread ending = std::move(each->thread);  // no other close() joins it
        lock.unlock();
        ending.join();
        lock.lock();
        each->release_executor();
      } else {
        std::unique_lock<std::mutex> queue_lock;
        if (current_ != nullptr) queue_lock = current_->queue.lock();
        abandon(*each);
      }
    }
  }

  // The runner was closed and is destroyed.
  void detach() {
    if (!owner_.is_current()) {  // threads of the parent process may hold the mutexes
      leak(shared_from_this());
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& each : workers_) {
      if (each->thread.joinable()) each->thread.detach();  // one of them destroys the runner
    }
  }

 private:
  bool on_own_thread() const noexcept { return of_this_thread_ == this; }

  void require_outside() const {
    owner_.require_current("this runner");
    if (on_own_thread()) {
      throw runner_error(
          "an executor cannot use the runner that it belongs to, but for stop() and close(); use "
          "another thread");
    }
  }

  void work(worker& me) {
    of_this_thread_ = this;
    set_least_timer_slack();
    std::optional<std::string> open_error;
    try {
      me.backend->open();
    } catch (...) {
      open_error = with_worker_name(me, current_message());
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
      work_on(me, *current);
      lock.lock();
      current = nullptr;
      if (me.abandoned) return;
      me.in_run = false;
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

  static void work_on(worker& me, active_run& current) {
    try {
      run_worker_loop(me, current);
    } catch (...) {  // of a source
      const auto lock = current.queue.lock();
      current.run.fail(end_reason::error, with_worker_name(me, current_message()), now_ns());
      current.queue.notify_all();
    }
  }

  // Errors are ignored: the outcome of the last run was returned before, so they cannot be
  // reported.
  static void close(executor& backend) {
    try {
      backend.close();
    } catch (...) {
    }
  }

  // Allocates all memory that the run will write to.
  void allocate(const run_options& options) {
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

    // One worker may serve all requests, and the last batch may exceed the capacity. Only the pages
    // of an equal share are prefaulted.
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

  // REQUIRES: mutex_ is locked.
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
        current_->run.fail(
            end_reason::deadline,
            with_worker_name(*each, "a batch did not complete within " + std::string(seconds) +
                                        " s; its thread is abandoned"),
            now);
        current_->queue.notify_all();
      } else if (now <= current_->abandon_at_ns) {
        continue;
      }
      abandon(*each);
    }
  }

  // REQUIRES: mutex_ is locked, and also the source's mutex if a run is in progress.
  void abandon(worker& which) {
    which.abandoned = true;
    which.thread.detach();
    --alive_;
    if (std::exchange(which.in_run, false)) --busy_;
    broken_ = true;
    ++abandoned_count;
    leak(shared_from_this());
  }

  // The implementation that the current thread is a worker of.
  inline static thread_local const implementation* of_this_thread_ = nullptr;

  const owner_process owner_;
  const wait_mode waiting_;
  std::vector<std::unique_ptr<worker>> workers_;

  std::mutex mutex_;  // guards the members below; locked before the source's mutex
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
    : implementation_(std::make_shared<implementation>(std::move(executors), waiting)) {
  try {
    implementation_->start_threads();
  } catch (const std::system_error& error) {
    close();
    throw runner_error(std::string("a worker's thread could not be started: ") + error.what() +
                       "; use fewer workers");
  } catch (...) {
    close();
    throw;
  }
}

runner::~runner() {
  close();
  implementation_->detach();
}

bool runner::wait_open(std::int64_t timeout_ns) {
  return implementation_->wait_open(timeout_ns);
}

outcome runner::run(std::shared_ptr<request_source> source, const run_options& options) {
  start(std::move(source), options);
  while (!wait_for(hour_ns)) {
  }
  return finish();
}

void runner::start(std::shared_ptr<request_source> source, const run_options& options) {
  implementation_->start(std::move(source), options);
}

bool runner::wait_for(std::int64_t timeout_ns) {
  return implementation_->wait_for(timeout_ns);
}

void runner::stop(std::int64_t grace_ns) {
  implementation_->stop(grace_ns);
}

outcome runner::finish() {
  return implementation_->finish();
}

void runner::close(std::int64_t grace_ns) noexcept {
  implementation_->close(grace_ns);
}

int abandoned_workers() noexcept {
  return abandoned_count;
}

}  // namespace gpubench
