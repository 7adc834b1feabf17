// The autoscaler of a fleet: how many instances there are to be. fleet.hpp has its rule.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "gpubench/clock.hpp"
#include "gpubench/fleet.hpp"

namespace gpubench {

// The largest number of instances that was desired in the last `window_ns`.
class recent_maximum {
 public:
  explicit recent_maximum(std::int64_t window_ns) : window_ns_(window_ns) {}

  void add(std::int64_t at_ns, std::size_t desired) {
    while (!entries_.empty() && entries_.back().second <= desired) entries_.pop_back();
    entries_.emplace_back(at_ns, desired);
    while (entries_.front().first < at_ns - window_ns_) entries_.pop_front();
  }
  std::size_t value() const noexcept { return entries_.front().second; }

 private:
  const std::int64_t window_ns_;
  std::deque<std::pair<std::int64_t, std::size_t>> entries_;  // falling
};

class autoscaler {
 public:
  autoscaler(const scaling_options& options, std::int64_t span_ns)
      : options_(options), span_ns_(span_ns), recent_(options.scale_down_delay_ns) {
    recent_.add(0, options.first);
    if (options.least < options.most) schedule();
  }

  // Of the next evaluation. never_ns: there is none before the end of the load.
  std::int64_t due_ns() const noexcept { return due_ns_; }

  void count_arrival() noexcept { ++arrived_; }

  // How many instances are to serve or start: more are launched below `least`, and removed above
  // `most`.
  struct range {
    std::size_t least;
    std::size_t most;
  };

  // REQUIRES: it is due. `at_least_one`: whatever the rate.
  range evaluate(bool at_least_one) {
    const double seconds = static_cast<double>(options_.period_ns) * 1e-9;
    const double wanted = static_cast<double>(arrived_) / seconds / options_.target_per_second;
    arrived_ = 0;
    // An exact multiple of the target must not be rounded up because of the last bit.
    const double whole = std::ceil(wanted * (1 - 1e-12));
    std::size_t desired = options_.most;
    if (whole < static_cast<double>(options_.most)) desired = static_cast<std::size_t>(whole);
    desired = std::max({desired, options_.least, std::size_t{at_least_one}});
    recent_.add(due_ns_, desired);
    schedule();
    return {desired, recent_.value()};
  }

 private:
  void schedule() noexcept {
    evaluated_ns_ += options_.period_ns;
    due_ns_ = evaluated_ns_ < span_ns_ ? evaluated_ns_ : never_ns;
  }

  const scaling_options& options_;
  const std::int64_t span_ns_;
  recent_maximum recent_;
  std::uint64_t arrived_ = 0;  // requests since the last evaluation
  std::int64_t evaluated_ns_ = 0;
  std::int64_t due_ns_ = never_ns;
};

}  // namespace gpubench
