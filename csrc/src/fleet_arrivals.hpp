// When the requests of a fleet arrive. Each class has the time of the next one, and pop().
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpubench/fleet.hpp"
#include "random.hpp"

namespace gpubench {

// The times of a list.
class scheduled_arrivals {
 public:
  explicit scheduled_arrivals(const fleet_load& load) : due_ns_(load.due_ns) {}

  std::int64_t due_ns() const noexcept {
    return next_ < due_ns_.size() ? due_ns_[next_] : never_ns;
  }
  void pop() noexcept { ++next_; }

 private:
  const std::vector<std::int64_t>& due_ns_;
  std::size_t next_ = 0;
};

// A Poisson process whose rate changes from step to step. The integral of the rate between two
// arrivals is exponential with mean 1 (Cinlar, Introduction to Stochastic Processes, 1975, section
// 4.7). Times are generated one by one.
class poisson_arrivals_of_steps {
 public:
  poisson_arrivals_of_steps(const fleet_load& load, std::uint64_t seed)
      : steps_(load.steps), random_(stream(seed, arrivals_stream)) {
    pop();
  }

  std::int64_t due_ns() const noexcept { return due_ns_; }

  void pop() noexcept {
    for (double left = exponential(random_); step_ < steps_.size();) {
      const rate_step& step = steps_[step_];
      const double per_ns = step.per_second * 1e-9;
      const double rest_ns = static_cast<double>(step.until_ns - begin_ns_) - within_ns_;
      if (left < per_ns * rest_ns) {
        within_ns_ += left / per_ns;
        due_ns_ = std::min(begin_ns_ + static_cast<std::int64_t>(within_ns_), step.until_ns - 1);
        return;
      }
      left -= per_ns * rest_ns;
      begin_ns_ = step.until_ns;
      within_ns_ = 0;
      ++step_;
    }
    due_ns_ = never_ns;
  }

 private:
  const std::vector<rate_step>& steps_;
  generator random_;
  std::size_t step_ = 0;
  std::int64_t begin_ns_ = 0;  // of the step; a double could not hold late times to the nanosecond
  double within_ns_ = 0;       // since then
  std::int64_t due_ns_ = never_ns;
};

}  // namespace gpubench
