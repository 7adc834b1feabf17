#include "python_executor.hpp"

#include <pybind11/numpy.h>

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

// Calls `function` with the GIL held. A Python exception becomes one of C++.
template <class Function>
void call(const Function& function) {
  with_gil([&function] {
    try {
      function();
    } catch (py::error_already_set& error) {
      const std::string message = described(error);
      error.restore();
      PyErr_Clear();
      throw std::runtime_error(message);
    }
  });
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
  thread_state_.make();
  try {
    if (open_) call([this] { (*open_)(); });
  } catch (...) {  // close() is not called then
    thread_state_.drop();
    throw;
  }
}

void python_executor::close() {
  try {
    if (close_) call([this] { (*close_)(); });
  } catch (...) {
    thread_state_.drop();
    throw;
  }
  thread_state_.drop();
}

bool python_executor::start(std::size_t, const gpubench::batch_view& batch) {
  call([this, &batch] {
    py::array_t<std::int64_t> ids(static_cast<py::ssize_t>(batch.size));
    for (std::size_t i = 0; i < batch.size; ++i) ids.mutable_data()[i] = batch.requests[i].id;
    run_(std::move(ids));
  });
  return true;
}
