// Giving the GIL up and taking it, on threads of Python and of the core.
//
// When the interpreter is shutting down, CPython before 3.14 ends a thread that asks for the GIL by
// unwinding it. C++ frames further out could not survive that, so the thread sleeps here until the
// process is gone.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

// Calls `function` with the GIL held.
template <class Function>
void with_gil(const Function& function) {
  try {
    const pybind11::gil_scoped_acquire gil;
    function();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

// Python's state of this thread lasts until drop_thread_state(), rather than for one call of
// with_gil(): what Python keeps per thread (threading.local) stays, making it anew takes longer
// than the call, and a fork just then hangs the child in CPython 3.11.
inline void keep_thread_state() {
  try {
    pybind11::gil_scoped_acquire().inc_ref();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}
inline void drop_thread_state() {
  try {
    pybind11::gil_scoped_acquire().dec_ref();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

class released_gil {
 public:
  released_gil() : thread_(PyEval_SaveThread()) {}
  ~released_gil() {
    try {
      PyEval_RestoreThread(thread_);
    } catch (abi::__forced_unwind&) {
      for (;;) pause();
    }
  }
  released_gil(const released_gil&) = delete;
  released_gil& operator=(const released_gil&) = delete;

 private:
  PyThreadState* thread_;
};

// Calls `function` without the GIL, which the caller holds.
template <class Function>
auto without_gil(const Function& function) {
  const released_gil released;
  return function();
}
