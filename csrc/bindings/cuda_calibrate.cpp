#include "cuda_calibrate.hpp"

#include <pybind11/stl.h>

#include <cstdint>

#include "convert.hpp"
#include "gil.hpp"
#include "gpubench/cuda/calibrate.hpp"

namespace py = pybind11;
using namespace py::literals;

void bind_event_check(py::module_& cuda) {
  using gpubench::cuda::event_check;
  py::class_<event_check>(cuda, "EventCheck",
                          "The duration of a kernel by events and by the kernel itself. Medians "
                          "over the repeats, in nanoseconds.")
      .def_readonly("length_ns", &event_check::length_ns, "The requested duration.")
      .def_readonly("kernel_ns", &event_check::kernel_ns,
                    "Measured by the kernel with %globaltimer, which has steps of tick_ns.")
      .def_readonly("event_ns", &event_check::event_ns, "Between the events around the kernel.")
      .def_readonly("empty_ns", &event_check::empty_ns,
                    "Between events around a kernel that does nothing.")
      .def_readonly("tick_ns", &event_check::tick_ns, "The step of %globaltimer.")
      .def_readonly("error_ns", &event_check::error_ns, "event_ns - empty_ns - kernel_ns.")
      .def_readonly("largest_error_ns", &event_check::largest_error_ns,
                    "The error of the repeat that is farthest from 0.");
  cuda.def(
      "check_event_clock",
      [](const integer_argument& device, const argument<std::vector<std::int64_t>>& lengths_ns,
         const integer_argument& repeats) {
        const int number = to_device(device);
        const auto lengths = lengths_ns.to("lengths_ns", "a list of whole numbers");
        const std::int64_t times = to_int64(repeats, "repeats");
        return without_gil(
            [&] { return gpubench::cuda::check_event_clock(number, lengths, times); });
      },
      "device"_a, "lengths_ns"_a, "repeats"_a,
      "Launches a kernel of known length between two events, `repeats` times for each of "
      "`lengths_ns`. Returns one row for each length. The device should be idle otherwise. Raises "
      "ValueError for bad arguments, CudaUnavailable if there is no such GPU, RuntimeError for "
      "errors of the driver.");
}
