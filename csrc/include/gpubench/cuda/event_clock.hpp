// Device events on the host's clock: one line for a whole run, fitted to what is certain.
//
// A device's event clock runs at its own pace from its own zero. What is certain is an order: no
// batch starts before it is submitted, and none ends after the host saw it complete. Each batch so
// gives two constraints on the line that leads from one clock to the other, and each anchor (an
// event recorded while the host looked at its clock before and after) two more. Whatever delays the
// host or the device only loosens a constraint; none can be wrong by more than an event resolves.
//
// Of all lines that meet the constraints, the steepest and the flattest enclose what remains
// unknown, and the line taken lies in their middle. docs/event_clock.md has the derivation.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "gpubench/timeline.hpp"

namespace gpubench::cuda {

// No two clocks of one machine drift apart faster: crystals differ by 100 ppm, and the kernel slews
// CLOCK_MONOTONIC by at most 500 ppm.
inline constexpr double largest_drift_ppm = 1000;

// An event that the device reached between two readings of the host's clock.
struct clock_anchor {
  std::int64_t device_ns;
  std::int64_t before_ns;
  std::int64_t after_ns;
};

// host = device + offset, the offset a straight line over device time.
struct clock_line {
  std::int64_t middle_ns = 0;  // the device time at which the offset is base_ns + above_ns
  std::int64_t base_ns = 0;
  double above_ns = 0;
  double drift = 0;  // offset gained per device ns

  // Never puts two moments in the other order.
  std::int64_t host_ns(std::int64_t device_ns) const noexcept {
    const double offset = above_ns + drift * static_cast<double>(device_ns - middle_ns);
    return device_ns + base_ns + std::llround(offset);
  }
};

// How a run's device stamps came to be on the host's clock.
struct clock_fit {
  clock_line line;

  // By how much the host's clock gains on the device's.
  double drift_ppm = 0;

  // At no moment of the run does any line that meets all constraints lie farther from this one.
  // Absent where no line meets them all.
  std::optional<std::int64_t> width_ns;

  // How far the line breaks the constraint that it breaks most: 0 where it meets them all, up to
  // the resolution of events (about 0.5 us) where it does not; more says that a clock did not run
  // straight.
  std::int64_t contradiction_ns = 0;

  // Batches that the line put outside [submitted, completed] and that were moved into it.
  std::size_t shifted_batches = 0;
  std::int64_t largest_shift_ns = 0;

  // Batches that lasted longer on the device than the host saw them, and by how much.
  std::size_t squeezed_batches = 0;
  std::int64_t largest_squeeze_ns = 0;
};

// Moves the stamps of `count` batches from the device's clock to the host's, in place; stamps[i]
// are those of batches[i], in any order, and ascend within a batch.
//
// Afterwards submitted <= e0 and e3 <= completed for every batch. Where the line breaks that, the
// batch is shifted as a whole, which keeps its durations exactly. A batch that is longer than
// [submitted, completed] (by what its events do not resolve) is squeezed into it, in proportion.
//
// Absent, and nothing is moved, where there is neither batch nor anchor.
std::optional<clock_fit> place_on_host_clock(const batch_record* batches, device_stamps* stamps,
                                             std::size_t count,
                                             const std::vector<clock_anchor>& anchors);

}  // namespace gpubench::cuda
