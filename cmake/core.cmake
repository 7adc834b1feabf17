# gpubench::core, the library.

find_package(Threads REQUIRED)

# The wheel has the same layout on every platform: `gpubench paths` relies on it. GNUInstallDirs would
# choose lib64 on some.
if(building_wheel)
  set(CMAKE_INSTALL_LIBDIR lib)
  set(CMAKE_INSTALL_INCLUDEDIR include)
endif()

add_library(gpubench_core STATIC
  csrc/src/arrivals.cpp
  csrc/src/batching.cpp
  csrc/src/clock.cpp
  csrc/src/cuda/batch_times.cpp
  csrc/src/cuda/buffers.cpp
  csrc/src/cuda/calibrate.cpp
  csrc/src/cuda/context.cpp
  csrc/src/cuda/device.cpp
  csrc/src/cuda/driver.cpp
  csrc/src/cuda/error.cpp
  csrc/src/cuda/event.cpp
  csrc/src/cuda/event_clock.cpp
  csrc/src/cuda/graph_executor.cpp
  csrc/src/cuda/input_copies.cpp
  csrc/src/cuda/kernel_graph.cpp
  csrc/src/cuda/payloads.cpp
  csrc/src/cuda/spin_kernel.cpp
  csrc/src/cuda/stream.cpp
  csrc/src/cuda/synthetic_executor.cpp
  csrc/src/delay_executor.cpp
  csrc/src/executor.cpp
  csrc/src/fleet.cpp
  csrc/src/latency_histogram.cpp
  csrc/src/memory.cpp
  csrc/src/process.cpp
  csrc/src/request_source.cpp
  csrc/src/run.cpp
  csrc/src/runner.cpp
  csrc/src/session.cpp
  csrc/src/simulate.cpp
  csrc/src/timeline.cpp
  csrc/src/waiting.cpp
  csrc/src/worker.cpp)
add_library(gpubench::core ALIAS gpubench_core)

include(GNUInstallDirs)
set(generated_include_dir ${PROJECT_BINARY_DIR}/generated/include)
configure_file(cmake/version.hpp.in ${generated_include_dir}/gpubench/version.hpp @ONLY)

gpubench_compile_options(gpubench_core)
target_compile_features(gpubench_core PUBLIC cxx_std_17)
target_include_directories(gpubench_core
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/csrc/include>
         $<BUILD_INTERFACE:${generated_include_dir}>
         $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  PRIVATE csrc/src)
target_link_libraries(gpubench_core PUBLIC Threads::Threads ${CMAKE_DL_LIBS})

# A shared library that links the core does not export the core's symbols.
set_target_properties(gpubench_core PROPERTIES EXPORT_NAME core POSITION_INDEPENDENT_CODE ON
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

# A seed gives the same schedule on processors with and without fused multiply-add.
set_source_files_properties(csrc/src/arrivals.cpp csrc/src/fleet.cpp
                            PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
