// Worker threads that execute the requests of a source in real time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gpubench/executor.hpp"
#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"
#include "gpubench/waiting.hpp"

namespace gpubench {

// Owns one thread for each executor and keeps it for all runs. torch, OpenMP and CUDA keep state
// for each thread, so a warm-up run is useful only on the threads that are measured later.
//
// Thread-safety: one thread starts and finishes runs. wait_for(), stop() and close() are safe from
// any thread at any time. An executor may call stop() and close() of its own runner; the other
// members throw runner_error there.
//
// A runner belongs to the process that made it. A child after fork() has no worker threads: every
// call throws runner_error, except close() and the destructor, which do nothing.
//
// If an executor does not return in time, its worker is abandoned: the thread is detached, the
// memory that it can use is never freed, and the runner refuses further runs.
//
// Time spans are in nanoseconds, from 0 to longest_span_ns; values outside are clamped.
class runner {
 public:
  // Acquires the executors until close() and starts the threads. Each thread opens its executor;
  // the constructor does not wait for that. Throws invalid_argument if there is no executor, if one
  // is null or given twice, and if another runner has one; runner_error if a thread cannot be
  // started. If the constructor throws, no executor stays acquired and no thread is left.
  explicit runner(std::vector<std::shared_ptr<executor>> executors,
                  wait_mode waiting = wait_mode::spin);
  ~runner();  // close()
  runner(const runner&) = delete;
  runner& operator=(const runner&) = delete;

  // Waits until every executor is open. Returns false if `timeout_ns` passed before. Throws
  // runner_error if an executor failed to open.
  [[nodiscard]] bool wait_open(std::int64_t timeout_ns);

  // A whole run: start(), wait_for(), finish().
  [[nodiscard]] outcome run(std::shared_ptr<request_source> source, const run_options& options);

  // Starts a run. Its clock starts when every worker is ready. Throws invalid_argument for bad
  // options, for a source that is in use, and for timelines that do not fit into memory;
  // runner_error if the executors are not open within the batch deadline, if a run is in progress,
  // and if the runner is closed or has abandoned a worker.
  void start(std::shared_ptr<request_source> source, const run_options& options);

  // Waits until no worker works on the run. Returns false if `timeout_ns` passed before. This call
  // abandons the workers whose batch has exceeded its deadline, also if the timeout is 0.
  [[nodiscard]] bool wait_for(std::int64_t timeout_ns);

  // No further batch departs. Batches in flight may take `grace_ns` more, but not longer than their
  // deadline.
  void stop(std::int64_t grace_ns = 3'600'000'000'000);

  // The outcome of the run whose end wait_for() reported. Throws runner_error if there is none.
  [[nodiscard]] outcome finish();

  // Stops a run in progress, closes the executors, joins the threads and releases the executors.
  // Threads that do not end within `grace_ns` are abandoned, and their executors stay acquired. Can
  // be called again. If an executor of this runner calls it, the call does not wait: it stops the
  // run and lets the threads end; the next close() or the destructor does the rest.
  void close(std::int64_t grace_ns = 60'000'000'000) noexcept;

 private:
  class implementation;
  std::shared_ptr<implementation> implementation_;
};

// How many workers of this process were abandoned. If it is not 0, code of a model may still run.
// The program should then flush its output and call _exit() instead of returning from main().
int abandoned_workers() noexcept;

}  // namespace gpubench
