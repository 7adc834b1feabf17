#include "python_executor.hpp"

#include <pybind11/numpy.h>
#include <unistd.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "gil.hpp"
#include "gpubench/process.hpp"

namespace py = pybind11;

namespace {

constexpr int exit_status_after_fork = 70;  // EX_SOFTWARE

// "RuntimeError: out of memory". The __str__ of an exception can raise, and its message can contain
// text that UTF-8 cannot encode.
std::string described(const py::error_already_set& error) {
  const auto text_of = [](const py::handle& object) -> std::string {
    const auto text = py::reinterpret_steal<py::object>(PyObject_Str(object.ptr()));
    const auto bytes = py::reinterpret_steal<py::object>(
        text ? PyUnicode_AsEncodedString(text.ptr(), "utf-8", "backslashreplace") : nullptr);
    if (!bytes) {
      PyErr_Clear();
      return "(its message cannot be shown)";
    }
    auto shown = bytes.cast<std::string>();
    for (std::size_t at = 0; (at = shown.find('\0', at)) != std::string::npos;) {
      shown.replace(at, 1, "\\x00");  // what() would end there
    }
    return shown;
  };
  const std::string name = reinterpret_cast<PyTypeObject*>(error.type().ptr())->tp_name;
  const std::string message = text_of(error.value());
  const std::string plain = name.substr(name.rfind('.') + 1);
  return message.empty() ? plain : plain + ": " + message;
}

[[noreturn]] void end_forked_child() {
  constexpr char line[] =
      "gpubench: a process forked in an executor came back from it and is ended; end it there with "
      "os._exit()\n";
  if (write(STDERR_FILENO, line, sizeof line - 1) < 0) _exit(exit_status_after_fork);
  _exit(exit_status_after_fork);
}

// Calls `function` with the GIL held. Converts a Python exception into a C++ exception.
template <class Function>
void call(const Function& function) {
  with_gil([&function] {
    const unsigned forks = gpubench::owner_process::forks();
    std::optional<std::string> failed;
    try {
      function();
    } catch (py::error_already_set& error) {
      failed = described(error);
      error.restore();
      PyErr_Clear();
    }
    if (gpubench::owner_process::forks() != forks) end_forked_child();
    if (failed) throw std::runtime_error(*failed);
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
  if (Py_IsInitialized() == 0) {  // the references can no longer be released
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
  keep_thread_state();
  if (!open_) return;
  try {
    call([this] { (*open_)(); });
  } catch (...) {
    drop_thread_state();  // close() will not be called
    throw;
  }
}

void python_executor::close() {
  struct state_dropper {
    ~state_dropper() { drop_thread_state(); }
  } const at_the_end;
  if (close_) call([this] { (*close_)(); });
}

gpubench::batch_state python_executor::start(std::size_t, const gpubench::batch_view& batch) {
  call([this, &batch] {
    py::array_t<std::int64_t> ids(static_cast<py::ssize_t>(batch.size));
    for (std::size_t i = 0; i < batch.size; ++i) ids.mutable_data()[i] = batch.requests[i].id;
    run_(std::move(ids));
  });
  return gpubench::batch_state::complete;
}
