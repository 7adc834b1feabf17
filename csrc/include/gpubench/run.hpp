// The options and the outcome of a run, in real and in simulated time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gpubench/batching.hpp"
#include "gpubench/timeline.hpp"

namespace gpubench {

struct run_options {
  batching batch;

  // No batch departs once this many requests have completed. Until then the load stays at its full
  // concurrency. Batches that are in flight at that time are awaited and recorded too.
  std::optional<std::size_t> stop_after_completions;

  // No batch departs later than this after the start.
  std::optional<std::int64_t> stop_after_ns;

  // If a batch takes longer, its worker is abandoned and the run ends.
  std::int64_t batch_deadline_ns = 60'000'000'000;

  // How many requests the timelines of all workers together can hold.
  std::size_t capacity = 1'000'000;
};

// Throws invalid_argument, which names the option and the fix.
void check(const run_options& options);

enum class end_reason : std::uint8_t {
  finished,       // the source has no more requests
  completions,    // stop_after_completions
  time,           // stop_after_ns
  timeline_full,  // capacity
  stopped,        // stop() or a predicate
  error,          // an executor threw an exception
  deadline,       // a batch took longer than batch_deadline_ns
};

// As in reports: "timeline full".
const char* to_string(end_reason reason) noexcept;

struct outcome {
  std::int64_t start_ns = 0;  // due times count from here
  std::int64_t end_ns = 0;    // no batch departed later
  end_reason reason = end_reason::finished;
  std::optional<std::string> error;  // "worker 1: out of memory"

  std::size_t completed = 0;  // requests
  std::size_t failed = 0;     // requests of batches that threw; they also count as unfinished

  // Due times of the requests that were due before end_ns and never completed, sorted.
  std::vector<std::int64_t> unfinished_scheduled_ns;

  double cpu_seconds = 0;  // of the whole process during the run; 0 in simulated time

  std::vector<std::shared_ptr<timeline>> timelines;  // one for each worker

  std::size_t offered() const noexcept { return completed + unfinished_scheduled_ns.size(); }
};

}  // namespace gpubench
