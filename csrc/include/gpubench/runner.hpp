// Persistent workers that drive a source through executors in real time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gpubench/executor.hpp"
#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"
#include "gpubench/waiting.hpp"

namespace gpubench {

// Owns one thread per executor for its whole life, since torch, OpenMP and CUDA keep state per
// thread: a warm-up run counts on the threads that are measured afterwards.
//
// Thread-safety: one thread starts and finishes runs; wait_for(), stop() and close() are safe from
// any thread at any time. Of the runner that it belongs to, an executor may call stop() and close()
// alone; the others throw runner_error there.
//
// A runner belongs to the process that made it. In a child after fork() there are no threads: every
// call throws runner_error, but close() and the destructor, which return at once.
//
// A worker whose executor does not come back in time is abandoned: its thread is detached, all that
// it can reach is kept alive for the rest of the process, and the runner refuses further runs.
class runner {
 public:
  // Takes the executors for itself until close(), and starts the threads, each of which opens its
  // executor; does not wait for them. Throws invalid_argument for no executor, an absent one, one
  // that is given twice, and one that another runner has; runner_error if a thread cannot be
  // started. Whatever it throws, nothing is taken and no thread is left.
  explicit runner(std::vector<std::shared_ptr<executor>> executors,
                  wait_mode waiting = wait_mode::spin);
  ~runner();  // close()
  runner(const runner&) = delete;
  runner& operator=(const runner&) = delete;

  // Waits until every executor is open; false when `timeout_ns` passed first. Throws runner_error
  // if one failed to open.
  [[nodiscard]] bool wait_open(std::int64_t timeout_ns);

  // A whole run: start(), wait_for(), finish().
  [[nodiscard]] outcome run(std::shared_ptr<request_source> source, const run_options& options);

  // Begins a run. The clock starts once every worker stands ready. Throws invalid_argument for bad
  // options, a source in use, and a timeline beyond memory; runner_error if the executors are not
  // open by the batch deadline, a run is in progress, or the runner is closed or has abandoned a
  // worker.
  void start(std::shared_ptr<request_source> source, const run_options& options);

  // Waits until no worker is busy with the run; false when `timeout_ns` passed first. It is this
  // call that gives up workers whose batch is past its deadline, also with a timeout of 0.
  [[nodiscard]] bool wait_for(std::int64_t timeout_ns);

  // Ends departures. Batches in flight are awaited for `grace_ns`, at most until their deadline.
  void stop(std::int64_t grace_ns = 3'600'000'000'000'000);

  // The outcome of the run that wait_for() saw end. Throws runner_error if there is none.
  [[nodiscard]] outcome finish();

  // Stops a run in progress, closes the executors, joins the threads and gives the executors back;
  // threads that do not come back within `grace_ns` are abandoned, and their executors stay taken.
  // May be called again. Called by one of the runner's own executors it does not wait: it stops the
  // run and lets the threads end, and the next close() or the destructor does the rest.
  void close(std::int64_t grace_ns = 60'000'000'000) noexcept;

 private:
  class crew;
  std::shared_ptr<crew> crew_;
};

// Workers of this process that were abandoned. Where it is not 0, foreign code may still run, so a
// program should end by flushing its output and calling _exit() rather than by returning from main.
int abandoned_workers() noexcept;

}  // namespace gpubench
