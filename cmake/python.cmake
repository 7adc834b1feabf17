# gpubench._core, the Python binding.

find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 3.0 CONFIG REQUIRED)  # 3.0 knows how to refuse subinterpreters

pybind11_add_module(_core MODULE
  csrc/bindings/convert.cpp
  csrc/bindings/cuda.cpp
  csrc/bindings/cuda_calibrate.cpp
  csrc/bindings/fleet.cpp
  csrc/bindings/gil_watchdog.cpp
  csrc/bindings/module.cpp
  csrc/bindings/python_executor.cpp
  csrc/bindings/python_runner.cpp)
target_link_libraries(_core PRIVATE gpubench::core)
gpubench_compile_options(_core)

# The module shares its process with NumPy and torch, which bring their own libstdc++. A symbol that two
# libraries export is taken from the one that was loaded first. So the module exports PyInit__core and
# nothing else: also no symbol of a libstdc++ that the compiler links statically.
set_target_properties(_core PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
  LINK_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/exports.map)
target_link_options(_core PRIVATE
  -Wl,--exclude-libs,ALL -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/exports.map)
install(TARGETS _core LIBRARY DESTINATION .)
