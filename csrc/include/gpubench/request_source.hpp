// The timed request queue. One non-blocking question, next(now), serves the closed loop, the open
// loop and live submission; two drivers ask it: threads in real time (runner.hpp) and an event heap
// in simulated time (simulate.hpp).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gpubench/batching.hpp"
#include "gpubench/process.hpp"
#include "gpubench/request.hpp"
#include "gpubench/waiting.hpp"

namespace gpubench {

// Requests with due times. A source serves one run at a time, and any number of runs in turn.
//
// Thread-safety: the drivers hold the lock of queue() around every call below it.
class request_source {
 public:
  request_source() = default;
  request_source(const request_source&) = delete;
  request_source& operator=(const request_source&) = delete;
  virtual ~request_source() = default;

  // The lock of this source, and those who wait for it.
  monitor& queue() noexcept { return queue_; }

  // A run takes the source for itself, and gives it back; these two need no lock. acquire() throws
  // invalid_argument if another run has it, also one of the process that this one was forked from.
  virtual void acquire();
  void release() noexcept { in_use_ = false; }

  // A run begins; `start_ns` is the zero of the schedule.
  virtual void start(std::int64_t start_ns) = 0;

  // What a free worker can do now. `taken` has room for rule.max_batch requests; those of a
  // dispatch are written there and belong to the caller.
  [[nodiscard]] virtual answer next(std::int64_t now_ns, const batching& rule, request* taken) = 0;

  // A batch is done: its clients become due again.
  virtual void complete(const request* requests, std::size_t count, std::int64_t completed_ns) = 0;

  // Whether a request waits or is known to come, so that a worker without a moment to wait for
  // should ask again.
  virtual bool any_waiting() const noexcept = 0;

  // Whether nothing waits and nothing will come.
  virtual bool finished() const noexcept = 0;

  // Due times, earlier than `moment_ns`, of the requests that still wait.
  virtual std::vector<std::int64_t> waiting_before(std::int64_t moment_ns) const = 0;

 protected:
  const home_process& made_in() const noexcept { return made_in_; }

 private:
  const home_process made_in_;
  monitor queue_;
  std::atomic<bool> in_use_{false};
};

// Requests in order of their due times, in a ring of fixed capacity.
class waiting_line {
 public:
  // Throws std::bad_alloc.
  explicit waiting_line(std::size_t capacity) : ring_(capacity) {}

  std::size_t size() const noexcept { return size_; }
  std::size_t capacity() const noexcept { return ring_.size(); }
  std::int64_t due_ns(std::size_t i) const noexcept { return ring_[place(i)].scheduled_ns; }
  void clear() noexcept { size_ = 0; }

  // Behind those that are due no later; the order of workers that complete at about the same time
  // is not that of their locks.
  // REQUIRES: size() < capacity().
  void push(const request& added) noexcept {
    std::size_t i = size_++;
    for (; i > 0 && due_ns(i - 1) > added.scheduled_ns; --i) ring_[place(i)] = ring_[place(i - 1)];
    ring_[place(i)] = added;
  }

  // REQUIRES: size() > 0.
  request pop() noexcept {
    const request first = ring_[first_];
    if (++first_ == ring_.size()) first_ = 0;
    --size_;
    return first;
  }

 private:
  std::size_t place(std::size_t i) const noexcept {
    const std::size_t at = first_ + i;
    return at < ring_.size() ? at : at - ring_.size();
  }

  std::vector<request> ring_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

// A fixed number of clients: each sends its next request `think_time_ns` after its last one
// completed. All are due at the start. Ids are the clients, from 0. It never finishes by itself.
class closed_loop final : public request_source {
 public:
  // Throws invalid_argument for no client, a negative or absurdly long think time, and for more
  // clients than memory allows.
  explicit closed_loop(std::size_t clients, std::int64_t think_time_ns = 0);

  void start(std::int64_t start_ns) noexcept override;
  answer next(std::int64_t now_ns, const batching& rule, request* taken) noexcept override;
  void complete(const request* requests, std::size_t count,
                std::int64_t completed_ns) noexcept override;
  bool any_waiting() const noexcept override { return line_.size() > 0; }
  bool finished() const noexcept override { return false; }
  std::vector<std::int64_t> waiting_before(std::int64_t moment_ns) const override;

 private:
  waiting_line line_;
  std::int64_t think_time_ns_;
};

// Requests that arrive on a schedule, however slow the answers are. Ids are places on the schedule.
class open_loop final : public request_source {
 public:
  // `due_ns`: offsets from the start. Throws invalid_argument unless they are sorted, not negative
  // and not empty.
  explicit open_loop(std::vector<std::int64_t> due_ns);

  // The same over memory that somebody else allocated: `due_ns` owns `count` offsets, which nobody
  // changes any more.
  open_loop(std::shared_ptr<const std::int64_t> due_ns, std::size_t count);

  void start(std::int64_t start_ns) noexcept override;
  answer next(std::int64_t now_ns, const batching& rule, request* taken) noexcept override;
  void complete(const request*, std::size_t, std::int64_t) noexcept override {}
  bool any_waiting() const noexcept override { return next_ < count_; }
  bool finished() const noexcept override { return next_ == count_; }
  std::vector<std::int64_t> waiting_before(std::int64_t moment_ns) const override;

  // The rest of the schedule, as take() sees a line.
  std::size_t size() const noexcept { return count_ - next_; }
  std::int64_t due_ns(std::size_t i) const noexcept { return start_ns_ + due_.get()[next_ + i]; }
  request pop() noexcept {
    const request first{due_ns(0), static_cast<std::int64_t>(next_)};
    ++next_;
    return first;
  }

 private:
  void check_schedule() const;

  std::size_t count_;
  std::shared_ptr<const std::int64_t> due_;  // the first of count_
  std::size_t next_ = 0;
  std::int64_t start_ns_ = 0;
};

// Requests that other threads bring while the run goes on. They are due when they are brought,
// so the time that a caller waits for room counts as latency. What is left when a run ends stays
// and is served by the next run. Ids are the callers' own.
//
// A queue serves the process that made it. In a forked child its lock may be held for ever, so
// there submit() and a run throw runner_error and close() does nothing.
class live_queue final : public request_source {
 public:
  enum class submission { accepted, full, closed };

  // Throws invalid_argument for a capacity of 0 and for one beyond memory.
  explicit live_queue(std::size_t capacity);

  void acquire() override;

  // Brings a request, waiting for room at most `longest_wait_ns`. It is due at `due_ns`: who waits
  // in several calls gives the moment of the first. Safe from any thread; the caller must not hold
  // the lock.
  [[nodiscard]] submission submit(std::int64_t id, std::int64_t longest_wait_ns = 0,
                                  std::int64_t due_ns = now_ns());

  // No more submissions: the run finishes when the queue is empty. Safe from any thread; the
  // caller must not hold the lock.
  void close();

  void start(std::int64_t) noexcept override {}
  answer next(std::int64_t now_ns, const batching& rule, request* taken) noexcept override;
  void complete(const request*, std::size_t, std::int64_t) noexcept override {}
  bool any_waiting() const noexcept override { return line_.size() > 0; }
  bool finished() const noexcept override { return closed_ && line_.size() == 0; }
  std::vector<std::int64_t> waiting_before(std::int64_t moment_ns) const override;

 private:
  waiting_line line_;
  std::condition_variable room_;
  int waiting_for_room_ = 0;
  bool closed_ = false;
};

}  // namespace gpubench
