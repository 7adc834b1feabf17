#include "python_runner.hpp"

#include <cstdio>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "convert.hpp"
#include "gil.hpp"
#include "gil_watch.hpp"
#include "gpubench/error.hpp"

namespace py = pybind11;

namespace {

// How often a wait without the GIL looks for signals.
constexpr std::int64_t slice_ns = 100'000'000;

// After Ctrl-C, how long batches in flight may take before their workers are abandoned: everything
// has come to an end within a second.
constexpr std::int64_t grace_after_signal_ns = 500'000'000;

std::set<python_runner*>& living() {  // guarded by the GIL
  static std::set<python_runner*> runners;
  return runners;
}

// "; Python went on 2.3 s later, because ..."
std::string held_up(std::int64_t ns) {
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
    living().insert(this);
  } catch (...) {
    without_gil([this] { runner_.close(grace_after_signal_ns); });
    throw;
  }
}

python_runner::~python_runner() {
  living().erase(this);
  close();
}

python_outcome python_runner::run(std::shared_ptr<gpubench::request_source> source,
                                  const gpubench::run_options& options) {
  // Deadlines are kept also while an executor holds the GIL, when the loop below stands still.
  const auto over = [this] { return runner_.wait_for(0); };
  std::optional<gil_watch> watch;
  try {
    watch.emplace("the run", over);
  } catch (const std::system_error& error) {
    throw gpubench::runner_error(std::string("a thread for the deadlines could not be started: ") +
                                 error.what() + "; end other threads");
  }
  without_gil([&] { runner_.start(std::move(source), options); });
  const auto ended = [&] {
    const bool answer = without_gil([&] {
      const bool all = runner_.wait_for(slice_ns);
      watch->ask();
      return all;
    });
    watch->got();
    return answer;
  };
  bool interrupted = false;
  while (!ended()) {
    if (!interrupted && PyErr_CheckSignals() != 0) {
      interrupted = true;
      PyErr_Clear();  // the caller finds it in the outcome, with all that was measured
      runner_.stop(grace_after_signal_ns);
    }
  }
  python_outcome done{runner_.finish(), interrupted};
  if (done.result.reason == gpubench::end_reason::deadline && done.result.error &&
      watch->longest_ns() > gil_watch::patience_ns) {
    *done.result.error += held_up(watch->longest_ns());
  }
  return done;
}

void python_runner::stop(std::int64_t grace_ns) {
  without_gil([&] { runner_.stop(grace_ns); });
}

void python_runner::close() {
  if (!owner_.is_current()) return;
  std::optional<gil_watch> watch;
  try {
    watch.emplace("close()", [] { return true; });
  } catch (const std::system_error&) {  // then without
  }
  without_gil([&] {
    runner_.close();
    if (watch) watch->ask();
  });
  if (watch) watch->got();
}

void close_all_runners() {
  while (!living().empty()) {
    python_runner* const each = *living().begin();
    living().erase(each);
    each->close();
  }
}
