// The runner for Python: it waits without the GIL, and looks for signals meanwhile.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "gpubench/process.hpp"
#include "gpubench/runner.hpp"

struct python_outcome {
  gpubench::outcome result;
  bool interrupted = false;  // by a signal whose handler raised
};

// REQUIRES: the caller of every member holds the GIL.
class python_runner {
 public:
  python_runner(std::vector<std::shared_ptr<gpubench::executor>> executors,
                gpubench::wait_mode waiting);
  ~python_runner();
  python_runner(const python_runner&) = delete;
  python_runner& operator=(const python_runner&) = delete;

  python_outcome run(std::shared_ptr<gpubench::request_source> source,
                     const gpubench::run_options& options);
  void stop(std::int64_t grace_ns);
  void close();  // does nothing in a forked child

 private:
  const gpubench::owner_process owner_;
  gpubench::runner runner_;
};

// Closes every runner that is still open. Must be called while the interpreter can still execute
// Python code, because executors have a close() in Python.
void close_all_runners();
