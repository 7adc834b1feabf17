#include "gpubench/run.hpp"

#include "gpubench/clock.hpp"
#include "gpubench/error.hpp"

namespace gpubench {

void check(const run_options& options) {
  check(options.batch);
  if (options.stop_after_completions == 0) {
    throw invalid_argument("stop_after_completions is 0; give at least 1 request");
  }
  if (options.stop_after_ns &&
      (*options.stop_after_ns <= 0 || *options.stop_after_ns > longest_span_ns)) {
    throw invalid_argument("stop_after_ns is " + std::to_string(*options.stop_after_ns) +
                           "; give a time from 1 to 1e18 ns");
  }
  if (options.batch_deadline_ns <= 0 || options.batch_deadline_ns > longest_span_ns) {
    throw invalid_argument("batch_deadline_ns is " + std::to_string(options.batch_deadline_ns) +
                           "; give a time from 1 to 1e18 ns");
  }
  if (options.capacity == 0) {
    throw invalid_argument("capacity is 0; give at least 1 request");
  }
  if (options.batch.max_batch > timeline::largest_capacity ||
      options.capacity > timeline::largest_capacity - options.batch.max_batch) {
    throw invalid_argument("capacity " + std::to_string(options.capacity) + " and max_batch " +
                           std::to_string(options.batch.max_batch) +
                           " are together over 4294967295 requests; lower them");
  }
}

const char* to_string(end_reason reason) noexcept {
  switch (reason) {
    case end_reason::finished:
      return "finished";
    case end_reason::completions:
      return "completions";
    case end_reason::time:
      return "time";
    case end_reason::timeline_full:
      return "timeline full";
    case end_reason::stopped:
      return "stopped";
    case end_reason::error:
      return "error";
    case end_reason::deadline:
      return "deadline";
  }
  return "";
}

}  // namespace gpubench
