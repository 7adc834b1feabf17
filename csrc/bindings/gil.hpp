// Releasing and acquiring the GIL, on threads of Python and of the core.
//
// When the interpreter shuts down, CPython before 3.14 ends a thread that requests the GIL by
// unwinding its stack. The C++ functions that called it do not support that. So the thread catches
// the unwinding here, and sleeps until the process ends.
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

// Keeps Python's thread state of this thread until drop_thread_state(); otherwise each call of
// with_gil() would make a new one. So values of threading.local last from call to call. Making a
// new state takes longer than the call, and a fork at that time hangs the child in CPython 3.11.
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
