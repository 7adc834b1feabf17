// Calls into Python from threads of the core.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

// Calls `function` with the GIL held. When the interpreter is shutting down, CPython ends a foreign
// thread that asks for the GIL by unwinding it; C++ frames further out could not survive that, so
// the thread sleeps here until the process is gone.
template <class Function>
void with_gil(const Function& function) {
  try {
    const pybind11::gil_scoped_acquire gil;
    function();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}
