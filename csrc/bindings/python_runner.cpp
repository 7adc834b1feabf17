#include "python_runner.hpp"

#include <chrono>
#include <set>
#include <string>
#include <utility>

namespace py = pybind11;
using namespace std::chrono_literals;

namespace {

// How often a wait without the GIL looks for signals.
constexpr auto slice = 100ms;

// After Ctrl-C, how long batches in flight may take before their workers are abandoned: everything
// has come to an end within a second.
constexpr auto grace_after_signal = 500ms;

std::set<python_runner*>& living() {  // guarded by the GIL
  static std::set<python_runner*> runners;
  return runners;
}

}  // namespace

python_runner::python_runner(std::vector<std::shared_ptr<gpubench::executor>> executors,
                             gpubench::wait_mode waiting)
    : runner_(std::move(executors), waiting) {
  const auto open = [this] {
    const py::gil_scoped_release no_gil;
    return runner_.wait_open(slice);
  };
  try {
    while (!open()) {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
  } catch (...) {
    const py::gil_scoped_release no_gil;
    runner_.close(grace_after_signal);
    throw;
  }
  living().insert(this);
}

python_runner::~python_runner() {
  living().erase(this);
  close();
}

python_outcome python_runner::run(std::shared_ptr<gpubench::request_source> source,
                                  const gpubench::run_options& options) {
  {
    const py::gil_scoped_release no_gil;
    runner_.start(std::move(source), options);
  }
  const auto ended = [this] {
    const py::gil_scoped_release no_gil;
    return runner_.wait_for(slice);
  };
  bool interrupted = false;
  while (!ended()) {
    if (!interrupted && PyErr_CheckSignals() != 0) {
      interrupted = true;
      PyErr_Clear();  // the caller finds it in the outcome, with all that was measured
      runner_.stop(grace_after_signal);
    }
  }
  return {runner_.finish(), interrupted};
}

void python_runner::stop(double grace_s) {
  if (!(grace_s >= 0 && grace_s <= 1e9)) {
    throw py::value_error("grace_s is " + std::to_string(grace_s) +
                          "; give a number of seconds from 0 to 1e9");
  }
  const py::gil_scoped_release no_gil;
  runner_.stop(std::chrono::nanoseconds(static_cast<std::int64_t>(grace_s * 1e9)));
}

void python_runner::close() {
  const py::gil_scoped_release no_gil;
  runner_.close();
}

void close_all_runners() {
  while (!living().empty()) {
    python_runner* const each = *living().begin();
    living().erase(each);
    each->close();
  }
}
