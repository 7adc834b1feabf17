// An executor that calls a Python callable once a batch.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "gpubench/executor.hpp"

// The GIL is held around each call and nowhere else. A Python exception of any kind ends the run
// with its type and message. A child that is forked in a call and comes back from it ends there,
// with a line on stderr and exit status 70: the run that it would go on with is not in its process.
class __attribute__((visibility("hidden"))) python_executor final : public gpubench::executor {
 public:
  // REQUIRES: the GIL is held.
  python_executor(pybind11::object run, std::optional<pybind11::object> open,
                  std::optional<pybind11::object> close);
  ~python_executor() override;

  void open() override;
  void close() override;
  gpubench::batch_state start(std::size_t slot, const gpubench::batch_view& batch) override;

 private:
  pybind11::object run_;
  std::optional<pybind11::object> open_;
  std::optional<pybind11::object> close_;
};
