#include "session.hpp"

#include <algorithm>
#include <utility>

namespace gpubench {

session::session(request_source& source, const run_options& options)
    : source_(source), options_(options) {
  check(options_);
  source_.acquire();
}

void session::begin(std::int64_t start_ns) {
  outcome_.start_ns = start_ns;
  if (options_.stop_after_ns) stop_ns_ = start_ns + *options_.stop_after_ns;
  source_.start(start_ns);
  begun_ = true;
}

answer session::next(std::int64_t now_ns, request* taken) {
  if (ended_) return {answer::kind::finished};
  if (now_ns < outcome_.start_ns) return {answer::kind::wait_until, 0, outcome_.start_ns};
  if (now_ns >= stop_ns_) {
    end(end_reason::time, stop_ns_);
    return {answer::kind::finished};
  }
  if (departed_ >= options_.capacity) {
    end(source_.finished() ? end_reason::finished : end_reason::timeline_full, now_ns);
    return {answer::kind::finished};
  }
  answer told = source_.next(now_ns, options_.batch, taken);
  switch (told.what) {
    case answer::kind::dispatch:
      departed_ += told.count;
      break;
    case answer::kind::finished:
      end(end_reason::finished, now_ns);
      break;
    case answer::kind::wait_until:
      told.until_ns = std::min(told.until_ns, stop_ns_);
      break;
    case answer::kind::wait:
      break;
  }
  return told;
}

void session::complete(const request* requests, std::size_t count, std::int64_t completed_ns) {
  outcome_.completed += count;
  source_.complete(requests, count, completed_ns);
  if (options_.stop_after_completions && outcome_.completed >= *options_.stop_after_completions) {
    end(end_reason::completions, completed_ns);
  }
}

void session::end(end_reason reason, std::int64_t moment_ns) noexcept {
  if (ended_) return;
  ended_ = true;
  outcome_.reason = reason;
  outcome_.end_ns = moment_ns;
}

void session::fail(end_reason reason, const std::string& error, std::int64_t moment_ns) {
  end(reason, moment_ns);
  if (outcome_.error) return;
  outcome_.reason = reason;
  outcome_.error = error;
}

void session::lose(const request* requests, std::size_t count, bool failed) {
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
