// Whether a GPU's events tell the time: what they say of a kernel, held against what it says
// itself.
#pragma once

#include <cstdint>
#include <vector>

namespace gpubench::cuda {

// One length of kernel. Figures are medians over the repeats; times are in nanoseconds.
struct event_check {
  std::int64_t length_ns;         // asked of the kernel
  std::int64_t kernel_ns;         // by %globaltimer, within tick_ns
  std::int64_t event_ns;          // between the events before and after it
  std::int64_t empty_ns;          // between events around a kernel that does nothing
  std::int64_t tick_ns;           // the step in which %globaltimer moves
  std::int64_t error_ns;          // event - empty - kernel
  std::int64_t largest_error_ns;  // the one farthest from 0 among the repeats
};

// Launches the spin kernel between two events, `repeats` times for each length, on an otherwise
// idle device. Takes the sum of all that and compiles the kernel first (under a second).
//
// Throws invalid_argument for no lengths, lengths outside of 1 ns to 10 s, and fewer than 1 repeat;
// unavailable, cuda_error and not_responding.
std::vector<event_check> check_event_clock(int device, const std::vector<std::int64_t>& lengths_ns,
                                           std::int64_t repeats);

}  // namespace gpubench::cuda
