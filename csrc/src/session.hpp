// One run as both drivers see it: the source, the batching rule and the conditions that end it.
#pragma once

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
  answer next(std::int64_t now_ns, request* taken);

  // A batch is done.
  void complete(const request* requests, std::size_t count, std::int64_t completed_ns);

  // Ends departures at `moment_ns`. The first reason stands, except that a failure says more than
  // any other.
  void end(end_reason reason, std::int64_t moment_ns) noexcept;
  void fail(end_reason reason, const std::string& error, std::int64_t moment_ns);
  bool ended() const noexcept { return ended_; }

  // Requests that departed and will not complete; `failed` if their batch threw.
  void lose(const request* requests, std::size_t count, bool failed);

  // After the last call above.
  outcome finish();

  const run_options& options() const noexcept { return options_; }

 private:
  request_source& source_;
  const run_options options_;
  std::int64_t stop_ns_ = never_ns;
  std::size_t departed_ = 0;  // requests
  bool begun_ = false;
  bool ended_ = false;
  outcome outcome_;
};

}  // namespace gpubench
