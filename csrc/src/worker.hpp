// One worker of a runner, and its part of a run: taking batches, executing them, handing them in.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gpubench/clock.hpp"
#include "gpubench/executor.hpp"
#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"
#include "gpubench/timeline.hpp"
#include "gpubench/waiting.hpp"
#include "session.hpp"

namespace gpubench {

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
  // Takes the executor, which no other runner can have meanwhile. Throws invalid_argument.
  worker(std::size_t number, std::shared_ptr<executor> from)
      : index(number), backend(std::move(from)) {
    backend->acquire("executors[" + std::to_string(index) + "]");
  }
  ~worker() { give_back(); }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  void give_back() noexcept {
    if (!std::exchange(given_back, true)) backend->release();
  }

  const std::size_t index;
  const std::shared_ptr<executor> backend;
  bool given_back = false;
  std::thread thread;

  // When the oldest batch in flight was submitted; 0 where there is none. A thread that does not
  // come back from its executor is recognised by this alone.
  std::atomic<std::int64_t> busy_since_ns{0};

  // Set once, under the source's lock; from then on the thread changes nothing that others see.
  std::atomic<bool> abandoned{false};

  // Guarded by the crew's lock.
  bool in_run = false;
  bool closed = false;  // the thread is at its end

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

// "worker 1: " and the problem.
std::string named(const worker& which, const std::string& problem);

// What the exception in flight says.
std::string current_message();

// Takes part in `current` until it is over. Throws what a source that somebody else wrote throws;
// an executor's error ends the run instead.
void take_turns(worker& me, active_run& current);

}  // namespace gpubench
