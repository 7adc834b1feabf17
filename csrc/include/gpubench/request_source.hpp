// The timed request queue. One function that does not block, next(now), serves the closed loop, the
// open loop and the live queue. Two drivers call it: threads in real time (runner.hpp) and an event
// loop in simulated time (simulate.hpp).
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

// Requests with due times. A source serves one run at a time. It can be used for any number of runs
// one after another.
//
// Thread-safety: the drivers hold the mutex of queue() around every call below it.
class request_source {
 public:
  request_source() = default;
  request_source(const request_source&) = delete;
  request_source& operator=(const request_source&) = delete;
  virtual ~request_source() = default;

  // The mutex of this source, and the workers that wait for it.
  monitor& queue() noexcept { return queue_; }

  // A run acquires the source and releases it at its end; no mutex is needed. acquire() throws
  // invalid_argument if another run has the source, also if that is a run of the parent process.
  virtual void acquire();
  void release() noexcept { in_use_ = false; }

  // A run begins. Due times count from `start_ns`.
  virtual void start(std::int64_t start_ns) = 0;

  // What a free worker is to do at `now_ns`. `batch` has room for rule.max_batch requests. If the
  // decision is to dispatch, the requests of the batch are moved there. A caller that ignores the
  // decision loses them.
  [[nodiscard]] virtual decision next(std::int64_t now_ns, const batching& rule,
                                      request* batch) = 0;

  // A batch has completed. In a closed loop its clients send their next requests.
  virtual void complete(const request* requests, std::size_t count, std::int64_t completed_ns) = 0;

  // Whether requests wait or will come at a known time, so that it is useful to wake a worker that
  // waits without a known time.
  virtual bool any_waiting() const noexcept = 0;

  // Whether no request waits and none will come.
  virtual bool finished() const noexcept = 0;

  // The due times before `before_ns` of the requests that still wait.
  virtual std::vector<std::int64_t> waiting_before(std::int64_t before_ns) const = 0;

 protected:
  const owner_process& owner() const noexcept { return owner_; }

 private:
  const owner_process owner_;
  monitor queue_;
  std::atomic<bool> in_use_{false};
};

// Requests in the order of their due times, in a ring buffer of fixed capacity.
class request_queue {
 public:
  // Throws std::bad_alloc.
  explicit request_queue(std::size_t capacity) : ring_(capacity) {}

  std::size_t size() const noexcept { return size_; }
  std::size_t capacity() const noexcept { return ring_.size(); }
  std::int64_t due_ns(std::size_t i) const noexcept { return ring_[index(i)].scheduled_ns; }
  void clear() noexcept { size_ = 0; }

  // Inserts a request behind all that are due at the same time or earlier. Workers that complete at
  // nearly the same time may call in another order than that of their completion times.
  // REQUIRES: size() < capacity().
  void push(const request& added) noexcept {
    std::size_t i = size_++;
    for (; i > 0 && due_ns(i - 1) > added.scheduled_ns; --i) ring_[index(i)] = ring_[index(i - 1)];
    ring_[index(i)] = added;
  }

  // Removes and returns the first request. REQUIRES: size() > 0.
  request pop() noexcept {
    const request first = ring_[first_];
    if (++first_ == ring_.size()) first_ = 0;
    --size_;
    return first;
  }

 private:
  std::size_t index(std::size_t i) const noexcept {
    const std::size_t at = first_ + i;
    return at < ring_.size() ? at : at - ring_.size();
  }

  std::vector<request> ring_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

// A fixed number of clients. Each sends its next request `think_time_ns` after its last one
// completed. All send their first request at the start. The ids are the numbers of the clients,
// from 0. The loop never finishes by itself.
class closed_loop final : public request_source {
 public:
  // Throws invalid_argument if there is no client, if the think time is negative or too long, and
  // if the clients do not fit into memory.
  explicit closed_loop(std::size_t clients, std::int64_t think_time_ns = 0);

  void start(std::int64_t start_ns) noexcept override;
  decision next(std::int64_t now_ns, const batching& rule, request* batch) noexcept override;
  void complete(const request* requests, std::size_t count,
                std::int64_t completed_ns) noexcept override;
  bool any_waiting() const noexcept override { return waiting_.size() > 0; }
  bool finished() const noexcept override { return false; }
  std::vector<std::int64_t> waiting_before(std::int64_t before_ns) const override;

 private:
  request_queue waiting_;
  std::int64_t think_time_ns_;
};

// Requests that arrive on a schedule, however long the system takes to complete them. The ids are
// indices in the schedule.
class open_loop final : public request_source {
 public:
  // `due_ns`: offsets from the start. Throws invalid_argument if they are not sorted, if one is
  // negative, and if there are none.
  explicit open_loop(std::vector<std::int64_t> due_ns);

  // The same for memory that the caller allocated: `due_ns` owns `count` offsets, which must not
  // change any more.
  open_loop(std::shared_ptr<const std::int64_t> due_ns, std::size_t count);

  void start(std::int64_t start_ns) noexcept override;
  decision next(std::int64_t now_ns, const batching& rule, request* batch) noexcept override;
  void complete(const request*, std::size_t, std::int64_t) noexcept override {}
  bool any_waiting() const noexcept override { return next_ < count_; }
  bool finished() const noexcept override { return next_ == count_; }
  std::vector<std::int64_t> waiting_before(std::int64_t before_ns) const override;

  // The rest of the schedule as a queue, for form_batch().
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
  std::shared_ptr<const std::int64_t> due_;  // count_ offsets
  std::size_t next_ = 0;
  std::int64_t start_ns_ = 0;
};

// Requests that other threads submit during the run. A request is due when it is submitted, so the
// time that a caller waits for room counts as latency. Requests that are left when a run ends are
// served by the next run. The ids are the caller's own.
//
// A queue serves the process that made it. In a forked child its mutex may stay locked for ever. So
// submit() and runs throw runner_error there, and close() does nothing.
class live_queue final : public request_source {
 public:
  enum class submission : std::uint8_t { accepted, full, closed };

  // Throws invalid_argument if the capacity is 0 or does not fit into memory.
  explicit live_queue(std::size_t capacity);

  void acquire() override;

  // Submits a request; waits for room for at most `longest_wait_ns`. The request is due at
  // `due_ns`: a caller that waits in several calls passes the time of the first one. Safe from any
  // thread; the caller must not hold the mutex. The request is lost unless the result is accepted.
  [[nodiscard]] submission submit(std::int64_t id, std::int64_t longest_wait_ns = 0,
                                  std::int64_t due_ns = now_ns());

  // No request is accepted any more: the run finishes when the queue is empty. Safe from any
  // thread; the caller must not hold the mutex.
  void close();

  void start(std::int64_t) noexcept override {}
  decision next(std::int64_t now_ns, const batching& rule, request* batch) noexcept override;
  void complete(const request*, std::size_t, std::int64_t) noexcept override {}
  bool any_waiting() const noexcept override { return waiting_.size() > 0; }
  bool finished() const noexcept override { return closed_ && waiting_.size() == 0; }
  std::vector<std::int64_t> waiting_before(std::int64_t before_ns) const override;

 private:
  request_queue waiting_;
  std::condition_variable room_;
  int waiting_for_room_ = 0;
  bool closed_ = false;
};

}  // namespace gpubench
