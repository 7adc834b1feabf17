#include "convert.hpp"

namespace py = pybind11;

py::array read_only(py::array array) {
  array.attr("flags").attr("writeable") = false;
  return array;
}

namespace {

void require_line(const nanoseconds& array, const char* name) {
  if (array.ndim() != 1) {
    throw py::value_error(std::string(name) + " has " + std::to_string(array.ndim()) +
                          " dimensions; give a line of int64 nanoseconds");
  }
}

}  // namespace

std::size_t to_count(std::int64_t given, const char* name) {
  if (given < 0) {
    throw py::value_error(std::string(name) + " is " + std::to_string(given) +
                          "; give a positive number");
  }
  return static_cast<std::size_t>(given);
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
  require_line(line, name);
  return line;
}

std::vector<std::int64_t> service_table(const py::object& service_ns) {
  if (py::isinstance<py::int_>(service_ns)) return {service_ns.cast<std::int64_t>()};
  const nanoseconds table = integers(service_ns, "service_ns");
  return {table.data(), table.data() + table.size()};
}
