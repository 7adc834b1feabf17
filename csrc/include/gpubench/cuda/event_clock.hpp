// Places the time stamps of a device on the host's clock: fits one line to all that is known of a
// run.
//
// The event clock of a device has its own rate and its own zero. Only the order of things is
// certain: a batch does not start before it is submitted, and the host sees it complete after it
// has ended. So each batch gives two constraints on the line that converts one clock into the
// other. Each anchor gives two more; an anchor is an event with a reading of the host's clock
// before and after it. A delay of the host or of the device makes a constraint weaker, never wrong
// by more than the resolution of an event.
//
// The steepest and the flattest line that satisfy all constraints bound what is unknown. The line
// in their middle is used. docs/event_clock.md has the derivation.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "gpubench/timeline.hpp"

namespace gpubench::cuda {

// The largest drift between two clocks of one machine: crystals differ by 100 ppm, and the kernel
// slews CLOCK_MONOTONIC by at most 500 ppm.
inline constexpr double largest_drift_ppm = 1000;

// An event that the device executed between two readings of the host's clock.
struct clock_anchor {
  std::int64_t device_ns;
  std::int64_t before_ns;
  std::int64_t after_ns;
};

// host time = device time + offset, where the offset is a linear function of device time.
struct clock_line {
  std::int64_t middle_ns = 0;  // at this device time the offset is base_ns + above_ns
  std::int64_t base_ns = 0;
  double above_ns = 0;
  double drift = 0;  // change of the offset per ns of device time

  // Keeps the order of any two times.
  std::int64_t host_ns(std::int64_t device_ns) const noexcept {
    const double offset = above_ns + drift * static_cast<double>(device_ns - middle_ns);
    return device_ns + base_ns + std::llround(offset);
  }
};

// The fit of a run: how its device time stamps were placed on the host's clock.
struct clock_fit {
  clock_line line;

  // How much faster the host's clock runs than the device's.
  double drift_ppm = 0;

  // Every line that satisfies all constraints is at most this far from the fitted line at any time
  // of the run. Absent if no line satisfies them all.
  std::optional<std::int64_t> width_ns;

  // The largest violation of a constraint: 0 if the line satisfies them all. A value up to the
  // resolution of events (about 0.5 us) is normal. A larger one shows that a clock did not run
  // evenly.
  std::int64_t contradiction_ns = 0;

  // Batches that the line placed outside of [submitted, completed], and that were shifted into it.
  std::size_t shifted_batches = 0;
  std::int64_t largest_shift_ns = 0;

  // Batches that were longer on the device than [submitted, completed], and by how much.
  std::size_t squeezed_batches = 0;
  std::int64_t largest_squeeze_ns = 0;
};

// Converts the time stamps of `count` batches from the device's clock to the host's, in place.
// stamps[i] belongs to batches[i]. The batches can be in any order; the stamps of a batch ascend.
//
// Afterwards submitted <= e0 and e3 <= completed for every batch. If the line does not give that,
// the whole batch is shifted, which keeps its durations exactly. A batch that is longer than
// [submitted, completed], because of the resolution of events, is shortened in proportion.
//
// Returns nothing, and changes nothing, if there is neither a batch nor an anchor.
std::optional<clock_fit> place_on_host_clock(const batch_record* batches, device_stamps* stamps,
                                             std::size_t count,
                                             const std::vector<clock_anchor>& anchors);

}  // namespace gpubench::cuda
