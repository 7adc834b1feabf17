// gpubench._core.simulate_fleet
#pragma once

#include <pybind11/pybind11.h>

void bind_fleet(pybind11::module_& m);
