// One run, for both drivers: its source, the batching rule and the conditions that end it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"

namespace gpubench {

// Not thread-safe: the runner holds the mutex of the source's queue() around every call.
class session {
 public:
  // Acquires the source. Throws invalid_argument for bad options and for a source that is in use.
  session(request_source& source, const run_options& options);
  ~session() { source_.release(); }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void begin(std::int64_t start_ns);
  bool begun() const noexcept { return begun_; }

  // The decision of the source, or finished once the run has ended.
  [[nodiscard]] decision next(std::int64_t now_ns, request* batch) {
    if (ended_) return {decision::kind::finished};
    if (now_ns < outcome_.start_ns) return {decision::kind::wait_until, 0, outcome_.start_ns};
    if (now_ns >= stop_ns_) {
      end(end_reason::time, stop_ns_);
      return {decision::kind::finished};
    }
    if (departed_ >= options_.capacity) {
      end(source_.finished() ? end_reason::finished : end_reason::timeline_full, now_ns);
      return {decision::kind::finished};
    }
    decision decided = source_.next(now_ns, options_.batch, batch);
    switch (decided.what) {
      case decision::kind::dispatch:
        departed_ += decided.count;
        break;
      case decision::kind::finished:
        end(end_reason::finished, now_ns);
        break;
      case decision::kind::wait_until:
        decided.until_ns = std::min(decided.until_ns, stop_ns_);
        break;
      case decision::kind::wait:
        break;
    }
    return decided;
  }

  // A batch has completed.
  void complete(const request* requests, std::size_t count, std::int64_t completed_ns) {
    outcome_.completed += count;
    source_.complete(requests, count, completed_ns);
    if (outcome_.completed >= completions_to_stop_) {
      end(end_reason::completions, completed_ns);
    }
  }

  // No batch departs after `at_ns`. If several reasons end a run, the outcome has the first
  // failure, or else the first reason.
  void end(end_reason reason, std::int64_t at_ns) noexcept;
  void fail(end_reason reason, const std::string& error, std::int64_t at_ns);
  bool ended() const noexcept { return ended_; }

  // Records requests that departed and will not complete; `failed` if their batch threw.
  void add_unfinished(const request* requests, std::size_t count, bool failed);

  // Must be the last call.
  [[nodiscard]] outcome finish();

  const run_options& options() const noexcept { return options_; }

 private:
  request_source& source_;
  const run_options options_;
  const std::size_t completions_to_stop_;
  std::int64_t stop_ns_ = never_ns;
  std::size_t departed_ = 0;  // requests
  bool begun_ = false;
  bool ended_ = false;
  outcome outcome_;
};

}  // namespace gpubench
