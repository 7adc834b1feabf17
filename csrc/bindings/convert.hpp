// From what Python gives to what the core takes.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

using nanoseconds = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

pybind11::array read_only(pybind11::array array);

// pybind11 refuses a negative number with a list of signatures; this says what is wrong.
std::size_t to_count(std::int64_t given, const char* name);

// Floats are refused rather than cut off; other integers are converted.
nanoseconds integers(const pybind11::object& given, const char* name);

// An int, or a line of them.
std::vector<std::int64_t> service_table(const pybind11::object& service_ns);
