// One run as both drivers see it: the source, the batching rule and the conditions that end it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "gpubench/request_source.hpp"
#include "gpubench/run.hpp"

namespace gpubench {

// Thread-safety: none; the runner holds the lock of the source's queue() around every call.
class session {
 public:
  // Takes the source for this run. Throws invalid_argument for bad options and a source in use.
  session(request_source& source, const run_options& options);
  ~session() { source_.release(); }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void begin(std::int64_t start_ns);
  bool begun() const noexcept { return begun_; }

  // As the source's next(), until the run has ended: then always finished.
  [[nodiscard]] answer next(std::int64_t now_ns, request* taken) {
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

  // A batch is done.
  void complete(const request* requests, std::size_t count, std::int64_t completed_ns) {
    outcome_.completed += count;
    source_.complete(requests, count, completed_ns);
    if (outcome_.completed >= completions_to_stop_) {
      end(end_reason::completions, completed_ns);
    }
  }

  // Ends departures at `moment_ns`. The first reason stands, except that a failure says more than
  // any other.
  void end(end_reason reason, std::int64_t moment_ns) noexcept;
  void fail(end_reason reason, const std::string& error, std::int64_t moment_ns);
  bool ended() const noexcept { return ended_; }

  // Requests that departed and will not complete; `failed` if their batch threw.
  void lose(const request* requests, std::size_t count, bool failed);

  // After the last call above.
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
