// A check of the events of a GPU: the duration of a kernel by events, compared with the duration
// that the kernel itself measures.
#pragma once

#include <cstdint>
#include <vector>

namespace gpubench::cuda {

// The results for one kernel length: medians over the repeats, in nanoseconds.
struct event_check {
  std::int64_t length_ns;  // requested
  std::int64_t kernel_ns;  // measured by the kernel with %globaltimer, which has steps of tick_ns
  std::int64_t event_ns;   // between the events before and after the kernel
  std::int64_t empty_ns;   // between the events around a kernel that does nothing
  std::int64_t tick_ns;    // the step of %globaltimer
  std::int64_t error_ns;   // event - empty - kernel
  std::int64_t largest_error_ns;  // the error of the repeat that is farthest from 0
};

// Launches a kernel of known length between two events, `repeats` times for each length. The device
// should be idle otherwise. Compiles the kernel first, which takes less than a second.
//
// Throws invalid_argument if there are no lengths, if a length is not between 1 ns and 10 s, and if
// `repeats` is not between 1 and 100,000; unavailable; cuda_error; not_responding.
std::vector<event_check> check_event_clock(int device, const std::vector<std::int64_t>& lengths_ns,
                                           std::int64_t repeats);

}  // namespace gpubench::cuda
