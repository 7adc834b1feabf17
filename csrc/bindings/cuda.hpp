// gpubench._core.cuda
#pragma once

#include <pybind11/pybind11.h>

// Adds the submodule `cuda` to `core`. REQUIRES: the class Executor is bound.
void bind_cuda(pybind11::module_& core);
