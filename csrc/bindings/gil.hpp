// Calls into Python from threads of the core.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

// Calls `function`, which asks for the GIL. When the interpreter is shutting down, CPython ends a
// foreign thread that asks for it by unwinding the thread; C++ frames further out could not survive
// that, so the thread sleeps here until the process is gone.
template <class Function>
void surviving_shutdown(const Function& function) {
  try {
    function();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

// Calls `function` with the GIL held.
template <class Function>
void with_gil(const Function& function) {
  surviving_shutdown([&function] {
    const pybind11::gil_scoped_acquire gil;
    function();
  });
}

// The Python thread state of a thread that Python did not start. Without one that lasts, each call
// into Python makes a new one, which takes longer than the call, and what Python code keeps per
// thread (threading.local) is lost after each.
class python_thread_state {
 public:
  // REQUIRES: the calling thread does not hold the GIL, and has no thread state made by this class.
  void make() {
    surviving_shutdown([this] {
      handle_ = PyGILState_Ensure();
      state_ = PyEval_SaveThread();
    });
  }

  // REQUIRES: called on the thread that called make(), without the GIL.
  void drop() {
    surviving_shutdown([this] {
      PyEval_RestoreThread(state_);
      PyGILState_Release(handle_);
    });
  }

 private:
  PyGILState_STATE handle_{};
  PyThreadState* state_ = nullptr;
};
