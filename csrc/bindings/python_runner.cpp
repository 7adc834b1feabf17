#include "python_runner.hpp"

#include <cstdio>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "convert.hpp"
#include "gil.hpp"
#include "gil_watchdog.hpp"
#include "gpubench/error.hpp"

namespace py = pybind11;

namespace {

// How often a wait without the GIL is interrupted to look for signals.
constexpr std::int64_t slice_ns = 100'000'000;

// How long batches in flight may take after Ctrl-C before their workers are abandoned. So a run
// ends within a second.
constexpr std::int64_t grace_after_signal_ns = 500'000'000;

std::set<python_runner*>& open_runners() {  // guarded by the GIL
  static std::set<python_runner*> runners;
  return runners;
}

// The part of an error message that tells how long other code held the GIL.
std::string gil_was_held(std::int64_t ns) {
  char text[160];
  std::snprintf(text, sizeof text,
                "; code that held Python's global lock (GIL) kept Python from going on for %.1f s",
                static_cast<double>(ns) * 1e-9);
  return text;
}

}  // namespace

python_runner::python_runner(std::vector<std::shared_ptr<gpubench::executor>> executors,
                             gpubench::wait_mode waiting)
    : runner_(std::move(executors), waiting) {
  const auto open = [this] { return without_gil([this] { return runner_.wait_open(slice_ns); }); };
  try {
    while (!open()) {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
    open_runners().insert(this);
  } catch (...) {
    without_gil([this] { runner_.close(grace_after_signal_ns); });
    throw;
  }
}

python_runner::~python_runner() {
  open_runners().erase(this);
  close();
}

python_outcome python_runner::run(std::shared_ptr<gpubench::request_source> source,
                                  const gpubench::run_options& options) {
  // The watchdog enforces deadlines also while an executor holds the GIL and the loop below cannot
  // run.
  const auto finished = [this] { return runner_.wait_for(0); };
  std::optional<gil_watchdog> watchdog;
  try {
    watchdog.emplace("the run", finished);
  } catch (const std::system_error& error) {
    throw gpubench::runner_error(std::string("a thread for the deadlines could not be started: ") +
                                 error.what() + "; end other threads");
  }
  without_gil([&] { runner_.start(std::move(source), options); });
  const auto ended = [&] {
    const bool result = without_gil([&] {
      const bool ended_now = runner_.wait_for(slice_ns);
      watchdog->begin_wait();
      return ended_now;
    });
    watchdog->end_wait();
    return result;
  };
  bool interrupted = false;
  while (!ended()) {
    if (!interrupted && PyErr_CheckSignals() != 0) {
      interrupted = true;
      PyErr_Clear();  // the outcome says so, and keeps what was measured
      runner_.stop(grace_after_signal_ns);
    }
  }
  python_outcome done{runner_.finish(), interrupted};
  if (done.result.reason == gpubench::end_reason::deadline && done.result.error &&
      watchdog->longest_wait_ns() > gil_watchdog::patience_ns) {
    *done.result.error += gil_was_held(watchdog->longest_wait_ns());
  }
  return done;
}

void python_runner::stop(std::int64_t grace_ns) {
  without_gil([&] { runner_.stop(grace_ns); });
}

void python_runner::close() {
  if (!owner_.is_current()) return;
  std::optional<gil_watchdog> watchdog;
  try {
    watchdog.emplace("close()", [] { return true; });
  } catch (const std::system_error&) {  // then close() runs without a watchdog
  }
  without_gil([&] {
    runner_.close();
    if (watchdog) watchdog->begin_wait();
  });
  if (watchdog) watchdog->end_wait();
}

void close_all_runners() {
  while (!open_runners().empty()) {
    python_runner* const each = *open_runners().begin();
    open_runners().erase(each);
    each->close();
  }
}
