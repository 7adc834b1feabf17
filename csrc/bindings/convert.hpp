// From what Python gives to what the core takes, with what is wrong said in one line.
//
// pybind11 answers an argument that it cannot convert with a list of signatures and all arguments
// printed. Here a binding takes an argument<T> instead, which accepts any object, and converts it
// by name: TypeError for another type, ValueError for a number that does not fit.
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

// Something that should become a T.
template <class T>
struct argument {
  pybind11::object given;

  T to(const char* name, const char* wanted) const {
    try {
      return pybind11::cast<T>(given);
    } catch (const pybind11::cast_error&) {
      throw wrong_type(name, wanted, given);
    } catch (const pybind11::error_already_set& error) {  // what the object itself says
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

// Whole numbers: an int or what has __index__, no float.
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

// An int, a float, or what has __float__.
double to_double(const real_argument& given, const char* name);

// Seconds to nanoseconds: from 0 to 1e9 s.
std::int64_t to_span_ns(const real_argument& seconds, const char* name);

// Floats are refused rather than cut off; other integers are converted.
nanoseconds integers(const pybind11::object& given, const char* name);

// An int, or a line of them.
std::vector<std::int64_t> service_table(const pybind11::object& service_ns);

// Text that may not be UTF-8.
pybind11::str to_text(const std::string& bytes);
