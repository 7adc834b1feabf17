// An executor that calls a Python function for each batch.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "gpubench/executor.hpp"

// The executor holds the GIL during each call and at no other time. A Python exception of any kind
// ends the run; the error is its type and message. If a call forks and returns in the child, the
// child ends with a line on stderr and exit status 70, because the run is not in its process.
class __attribute__((visibility("hidden"))) python_executor final : public gpubench::executor {
 public:
  // REQUIRES: the caller holds the GIL.
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
