#include "convert.hpp"

#include <cmath>
#include <limits>

namespace py = pybind11;

namespace {

void require_one_dimension(const nanoseconds& array, const char* name) {
  if (array.ndim() != 1) {
    throw py::value_error(std::string(name) + " has " + std::to_string(array.ndim()) +
                          " dimensions; give a line of int64 nanoseconds");
  }
}

// The number as Python prints it, shortened to 40 characters.
std::string printed(const py::handle& number) {
  PyErr_Clear();
  const auto text = py::reinterpret_steal<py::object>(PyObject_Str(number.ptr()));
  if (!text) {  // Python does not print integers of thousands of digits
    PyErr_Clear();
    return "an integer of more digits than Python prints";
  }
  const auto whole = text.cast<std::string>();
  return whole.size() <= 40 ? whole : whole.substr(0, 40) + "...";
}

// As a Python int.
py::object whole_number(const py::object& given, const char* name) {
  if (PyIndex_Check(given.ptr()) == 0) throw wrong_type(name, "a whole number", given);
  auto number = py::reinterpret_steal<py::object>(PyNumber_Index(given.ptr()));
  if (number) return number;
  if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw py::error_already_set();
  PyErr_Clear();  // for example, an array of several numbers
  throw wrong_type(name, "a whole number", given);
}

}  // namespace

py::array read_only(py::array array) {
  array.attr("flags").attr("writeable") = false;
  return array;
}

py::type_error wrong_type(const char* name, const char* wanted, const py::handle& given) {
  return py::type_error(std::string(name) + " must be " + wanted + ", not " +
                        Py_TYPE(given.ptr())->tp_name);
}

std::int64_t to_int64(const py::object& given, const char* name) {
  const py::object number = whole_number(given, name);
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0) {
    throw py::value_error(std::string(name) + " is " + printed(number) +
                          "; give a number of at most 64 bits");
  }
  return value;
}

std::uint64_t to_seed(const py::object& given, const char* name) {
  const py::object number = whole_number(given, name);
  const unsigned long long value = PyLong_AsUnsignedLongLong(number.ptr());
  if (PyErr_Occurred() != nullptr) {
    throw py::value_error(std::string(name) + " is " + printed(number) +
                          "; give a number from 0 to 2**64 - 1");
  }
  return value;
}

std::size_t to_count(const py::object& given, const char* name) {
  const std::int64_t value = to_int64(given, name);
  if (value < 0) {
    throw py::value_error(std::string(name) + " is " + std::to_string(value) +
                          "; give a positive number");
  }
  return static_cast<std::size_t>(value);
}

std::optional<std::int64_t> to_int64(const std::optional<integer_argument>& given,
                                     const char* name) {
  if (!given) return std::nullopt;
  return to_int64(*given, name);
}

int to_device(const integer_argument& given) {
  const std::int64_t value = to_int64(given, "device");
  if (value < 0 || value > std::numeric_limits<int>::max()) {
    throw py::value_error("device is " + std::to_string(value) + "; give its number, 0 for cuda:0");
  }
  return static_cast<int>(value);
}

double to_double(const real_argument& given, const char* name) {
  const double value = PyFloat_AsDouble(given.given.ptr());
  if (PyErr_Occurred() == nullptr) return value;
  if (PyErr_ExceptionMatches(PyExc_OverflowError) != 0) {
    throw py::value_error(std::string(name) + " is " + printed(given.given) +
                          "; give a number below 1e308");
  }
  if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw py::error_already_set();
  PyErr_Clear();
  throw wrong_type(name, "a number", given.given);
}

std::int64_t to_span_ns(const real_argument& seconds, const char* name) {
  const double value = to_double(seconds, name);
  if (!(value >= 0 && value <= 1e9)) {
    throw py::value_error(std::string(name) + " is " + printed(py::float_(value)) +
                          "; give a number of seconds from 0 to 1e9");
  }
  return static_cast<std::int64_t>(value * 1e9);
}

nanoseconds integers(const py::object& given, const char* name) {
  const py::array array = py::array::ensure(given);
  if (!array || (array.size() > 0 && array.dtype().kind() != 'i' && array.dtype().kind() != 'u')) {
    PyErr_Clear();
    throw py::value_error(std::string(name) +
                          " does not hold integers; give int64 nanoseconds, "
                          "for example array.astype(numpy.int64)");
  }
  const nanoseconds line =
      py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>(array);
  require_one_dimension(line, name);
  return line;
}

std::vector<std::int64_t> service_table(const py::object& service_ns) {
  if (PyIndex_Check(service_ns.ptr()) != 0 && !py::isinstance<py::array>(service_ns)) {
    return {to_int64(service_ns, "service_ns")};
  }
  const nanoseconds table = integers(service_ns, "service_ns");
  return {table.data(), table.data() + table.size()};
}

py::str to_text(const std::string& bytes) {
  auto text = py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
  if (!text) throw py::error_already_set();
  return text;
}
