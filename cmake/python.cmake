# gpubench._core, the Python binding.

find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 2.13 CONFIG REQUIRED)

pybind11_add_module(_core MODULE
  csrc/bindings/convert.cpp
  csrc/bindings/cuda.cpp
  csrc/bindings/cuda_calibrate.cpp
  csrc/bindings/module.cpp
  csrc/bindings/python_executor.cpp
  csrc/bindings/python_runner.cpp)
target_link_libraries(_core PRIVATE gpubench::core)
target_compile_options(_core PRIVATE -Wall -Wextra -Wshadow)
install(TARGETS _core LIBRARY DESTINATION .)
