// Conversion of Python arguments, with errors of one line.
//
// If pybind11 cannot convert an argument, its message lists all signatures and prints all
// arguments. So the bindings take an argument<T>, which accepts any object, and convert it with its
// name: TypeError for a wrong type, ValueError for a number that is out of range.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using nanoseconds = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

pybind11::array read_only(pybind11::array array);

// "`name` must be `wanted`, not str"
pybind11::type_error wrong_type(const char* name, const char* wanted,
                                const pybind11::handle& given);

// A Python object that is to be converted to a T.
template <class T>
struct argument {
  pybind11::object given;

  T to(const char* name, const char* wanted) const {
    try {
      return pybind11::cast<T>(given);
    } catch (const pybind11::cast_error&) {
      throw wrong_type(name, wanted, given);
    } catch (const pybind11::error_already_set& error) {  // an error of the object itself
      if (!error.matches(PyExc_TypeError)) throw;
      throw wrong_type(name, wanted, given);
    }
  }
};

using integer_argument = argument<std::int64_t>;
using real_argument = argument<double>;

namespace pybind11::detail {

template <class T>
struct type_caster<argument<T>> {
  PYBIND11_TYPE_CASTER(argument<T>, make_caster<T>::name);
  bool load(handle source, bool) {
    value.given = reinterpret_borrow<object>(source);
    return true;
  }
};

}  // namespace pybind11::detail

// Whole numbers: an int, or an object with __index__; not a float.
std::int64_t to_int64(const pybind11::object& given, const char* name);
std::uint64_t to_seed(const pybind11::object& given, const char* name);
std::size_t to_count(const pybind11::object& given, const char* name);  // 0 or more
std::optional<std::int64_t> to_int64(const std::optional<integer_argument>& given,
                                     const char* name);
int to_device(const integer_argument& given);

inline std::int64_t to_int64(const integer_argument& given, const char* name) {
  return to_int64(given.given, name);
}
inline std::size_t to_count(const integer_argument& given, const char* name) {
  return to_count(given.given, name);
}

// An int, a float, or an object with __float__.
double to_double(const real_argument& given, const char* name);

// Seconds, from 0 to 1e9, as nanoseconds.
std::int64_t to_span_ns(const real_argument& seconds, const char* name);

// A one-dimensional array. Floats are refused, not truncated; other integer types are converted.
nanoseconds integers(const pybind11::object& given, const char* name);

// An int, or a one-dimensional array of them.
std::vector<std::int64_t> service_table(const pybind11::object& service_ns);

// Text in which invalid UTF-8 is replaced.
pybind11::str to_text(const std::string& bytes);
