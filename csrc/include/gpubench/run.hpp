// What a run is asked for and what it answers, in real and in simulated time.
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

  // Ends departures once so many requests have completed. The loop keeps its full concurrency until
  // then; what is in flight at that moment is awaited and recorded too.
  std::optional<std::size_t> stop_after_completions;

  // No departure later than this after the start.
  std::optional<std::int64_t> stop_after_ns;

  // A batch that takes longer is given up, and its worker with it.
  std::int64_t batch_deadline_ns = 60'000'000'000;

  // Requests that the timelines hold, all workers together.
  std::size_t capacity = 1'000'000;
};

// Throws invalid_argument, naming the option and the fix.
void check(const run_options& options);

enum class end_reason {
  finished,       // the source has no more requests
  completions,    // stop_after_completions
  time,           // stop_after_ns
  timeline_full,  // capacity
  stopped,        // somebody asked for it
  error,          // an executor threw
  deadline,       // a batch took longer than batch_deadline_ns
};

// As in reports: "timeline full".
const char* to_string(end_reason reason) noexcept;

struct outcome {
  std::int64_t start_ns = 0;  // the zero of the schedule
  std::int64_t end_ns = 0;    // departures ended
  end_reason reason = end_reason::finished;
  std::optional<std::string> error;  // "worker 1: out of memory"

  std::size_t completed = 0;  // requests
  std::size_t failed = 0;     // requests of batches that threw; they count as unfinished, too

  // Due times of the requests that were due before end_ns and never completed, sorted.
  std::vector<std::int64_t> unfinished_scheduled_ns;

  double cpu_seconds = 0;  // of the whole process from start to end; 0 in simulated time

  std::vector<std::shared_ptr<timeline>> timelines;  // one a worker

  std::size_t offered() const noexcept { return completed + unfinished_scheduled_ns.size(); }
};

}  // namespace gpubench
