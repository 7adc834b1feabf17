// The runner as Python sees it: waits without the GIL and looks for signals meanwhile.
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

// REQUIRES: the GIL is held around every member.
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
  void close();  // in a forked child it does nothing

 private:
  const gpubench::owner_process owner_;
  gpubench::runner runner_;
};

// Closes every runner that is left, while the interpreter can still run their executors' close().
void close_all_runners();
