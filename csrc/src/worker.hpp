// A worker of a runner, and the loop of its thread in a run.
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

// A slot for one batch in flight.
struct batch_slot {
  std::size_t number = 0;
  std::vector<request> requests;  // max_batch
  std::uint32_t size = 0;         // requests in flight; 0: the slot is free
  std::int64_t opened_ns = 0;
  std::int64_t departed_ns = 0;
  std::int64_t submitted_ns = 0;
  std::int64_t completed_ns = 0;
};

struct worker {
  // Acquires the executor. Throws invalid_argument if another runner has it.
  worker(std::size_t number, std::shared_ptr<executor> from)
      : index(number), backend(std::move(from)) {
    backend->acquire("executors[" + std::to_string(index) + "]");
  }
  ~worker() { release_executor(); }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  void release_executor() noexcept {
    if (!std::exchange(released, true)) backend->release();
  }

  const std::size_t index;
  const std::shared_ptr<executor> backend;
  bool released = false;
  std::thread thread;

  // When the oldest batch in flight departed; 0 if there is none. The runner uses this to find
  // a thread that does not return from its executor.
  std::atomic<std::int64_t> busy_since_ns{0};

  // Set once, with the source's mutex locked. From then on the worker's thread must not change
  // anything that other threads use.
  std::atomic<bool> abandoned{false};

  // Guarded by the mutex of runner::implementation.
  bool in_run = false;
  bool closed = false;  // the thread has closed its executor and ends

  // Of the current run. During the run only the worker's thread uses these. It sets the size of a
  // slot with the source's mutex locked.
  std::vector<batch_slot> slots;
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
  std::size_t ready = 0;                              // workers; guarded by queue
  std::atomic<std::int64_t> abandon_at_ns{never_ns};  // the end of the grace time of stop()
  std::int64_t start_cpu_ns = 0;
};

// "worker 1: <problem>".
std::string with_worker_name(const worker& which, const std::string& problem);

// The message of the exception that is being handled.
std::string current_message();

// Works on `current` until the run is over. Exceptions of an executor end the run. Exceptions of a
// source are passed on to the caller.
void run_worker_loop(worker& me, active_run& current);

}  // namespace gpubench
