// Ctrl-C in functions that take long.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "gil.hpp"
#include "gpubench/clock.hpp"

// How often a simulation or a wait is interrupted to look for signals.
inline constexpr std::int64_t signal_interval_ns = 100'000'000;

// A predicate for simulations. It throws the exception of a signal handler, and never returns true.
// It looks for signals only at intervals, because it needs the GIL for that.
class signal_check {
 public:
  bool operator()() {
    const std::int64_t now_ns = gpubench::now_ns();
    if (now_ns < next_ns_) return false;
    next_ns_ = now_ns + signal_interval_ns;
    with_gil([] {
      if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
    });
    return false;
  }

 private:
  std::int64_t next_ns_ = gpubench::now_ns() + signal_interval_ns;
};
