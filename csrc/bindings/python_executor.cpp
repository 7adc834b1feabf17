#include "python_executor.hpp"

#include <cxxabi.h>
#include <pybind11/numpy.h>
#include <unistd.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace py = pybind11;

namespace {

// "RuntimeError: out of memory"
std::string described(const py::error_already_set& error) {
  const std::string name = py::str(error.type().attr("__name__"));
  const std::string message = py::str(error.value());
  return message.empty() ? name : name + ": " + message;
}

// Calls `function` with the GIL held. When the interpreter is shutting down, CPython ends a foreign
// thread that asks for the GIL by unwinding it; C++ frames further out could not survive that, so
// the thread sleeps here until the process is gone.
template <class Function>
void with_gil(const Function& function) {
  try {
    const py::gil_scoped_acquire gil;
    try {
      function();
    } catch (py::error_already_set& error) {
      const std::string message = described(error);
      error.restore();
      PyErr_Clear();
      throw std::runtime_error(message);
    }
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

}  // namespace

python_executor::python_executor(py::object run, std::optional<py::object> open,
                                 std::optional<py::object> close)
    : run_(std::move(run)), open_(std::move(open)), close_(std::move(close)) {
  for (const auto& given : {std::optional(run_), open_, close_}) {
    if (given && PyCallable_Check(given->ptr()) == 0) {
      throw py::type_error("run, open and close must be callable, not " +
                           std::string(py::str(py::type::of(*given).attr("__name__"))));
    }
  }
}

python_executor::~python_executor() {
  if (Py_IsInitialized() == 0) {  // nobody is left who could take the references
    run_.release();
    if (open_) open_->release();
    if (close_) close_->release();
    return;
  }
  const py::gil_scoped_acquire gil;
  run_ = py::object();
  open_.reset();
  close_.reset();
}

void python_executor::open() {
  if (open_) with_gil([this] { (*open_)(); });
}

void python_executor::close() {
  if (close_) with_gil([this] { (*close_)(); });
}

bool python_executor::start(std::size_t, const gpubench::batch_view& batch) {
  with_gil([this, &batch] {
    py::array_t<std::int64_t> ids(static_cast<py::ssize_t>(batch.size));
    for (std::size_t i = 0; i < batch.size; ++i) ids.mutable_data()[i] = batch.requests[i].id;
    run_(std::move(ids));
  });
  return true;
}
