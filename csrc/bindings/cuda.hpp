// gpubench._core.cuda
#pragma once

#include <pybind11/pybind11.h>

// Adds the submodule to `core`, after Executor.
void bind_cuda(pybind11::module_& core);
