// gpubench._core.cuda.check_event_clock
#pragma once

#include <pybind11/pybind11.h>

// Adds it to the submodule `cuda`.
void bind_event_check(pybind11::module_& cuda);
