#include "session.hpp"

#include <algorithm>
#include <utility>

namespace gpubench {

session::session(request_source& source, const run_options& options)
    : source_(source),
      options_(options),
      completions_to_stop_(options.stop_after_completions.value_or(SIZE_MAX)) {
  check(options_);
  source_.acquire();
}

void session::begin(std::int64_t start_ns) {
  outcome_.start_ns = start_ns;
  if (options_.stop_after_ns) stop_ns_ = start_ns + *options_.stop_after_ns;
  source_.start(start_ns);
  begun_ = true;
}

void session::end(end_reason reason, std::int64_t at_ns) noexcept {
  if (ended_) return;
  ended_ = true;
  outcome_.reason = reason;
  outcome_.end_ns = at_ns;
}

void session::fail(end_reason reason, const std::string& error, std::int64_t at_ns) {
  end(reason, at_ns);
  if (outcome_.error) return;
  outcome_.reason = reason;
  outcome_.error = error;
}

void session::add_unfinished(const request* requests, std::size_t count, bool failed) {
  if (failed) outcome_.failed += count;
  for (std::size_t i = 0; i < count; ++i) {
    outcome_.unfinished_scheduled_ns.push_back(requests[i].scheduled_ns);
  }
}

outcome session::finish() {
  auto& unfinished = outcome_.unfinished_scheduled_ns;
  const auto waiting = source_.waiting_before(outcome_.end_ns);
  unfinished.insert(unfinished.end(), waiting.begin(), waiting.end());
  std::sort(unfinished.begin(), unfinished.end());
  return std::move(outcome_);
}

}  // namespace gpubench
