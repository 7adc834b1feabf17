#include "gpubench/arrivals.hpp"

#include <cmath>
#include <cstdio>
#include <string>

#include "gpubench/clock.hpp"
#include "gpubench/error.hpp"
#include "memory.hpp"
#include "random.hpp"

// Compiled with -ffp-contract=off: a fused multiply-add rounds differently, and some processors
// have none.

namespace gpubench {
namespace {

std::int64_t rounded(double nanoseconds) {
  return static_cast<std::int64_t>(std::floor(nanoseconds + 0.5));
}

std::string formatted(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", number);
  return text;
}

// The mean time between requests. Checks the arguments that all arrival patterns have in common.
double checked_gap_ns(double rate_per_second, std::size_t count) {
  if (!(std::isfinite(rate_per_second) && rate_per_second > 0)) {
    throw invalid_argument("rate_per_second is " + formatted(rate_per_second) +
                           "; give a positive number of requests per second");
  }
  if (count == 0) {
    throw invalid_argument("count is 0; a schedule has at least 1 request");
  }
  require_memory(count, sizeof(std::int64_t), "count " + std::to_string(count), "lower count");
  const double gap_ns = 1e9 / rate_per_second;
  if (!(gap_ns * static_cast<double>(count) <= static_cast<double>(longest_span_ns))) {
    throw invalid_argument("a schedule of " + std::to_string(count) + " requests at " +
                           formatted(rate_per_second) +
                           " per second lasts over 31 years; raise the rate or lower count");
  }
  return gap_ns;
}

}  // namespace

std::vector<std::int64_t> constant_arrivals(double rate_per_second, std::size_t count) {
  return burst_arrivals(rate_per_second, count, 1);
}

std::vector<std::int64_t> poisson_arrivals(double rate_per_second, std::size_t count,
                                           std::uint64_t seed) {
  const double span_ns = checked_gap_ns(rate_per_second, count) * static_cast<double>(count);

  // Of count + 1 exponential gaps, divided by their sum, the first count partial sums are uniform
  // order statistics: the arrivals of a Poisson process, given their number (Devroye, Non-Uniform
  // Random Variate Generation, V.2.1). The gaps are generated twice, which needs no second array.
  generator first = stream(seed, arrivals_stream);
  double sum = 0;
  for (std::size_t i = 0; i <= count; ++i) sum += exponential(first);

  generator again = stream(seed, arrivals_stream);
  std::vector<std::int64_t> due_ns(count);
  double passed = 0;
  for (std::int64_t& due : due_ns) {
    passed += exponential(again);
    due = rounded(span_ns * (passed / sum));
  }
  return due_ns;
}

std::vector<std::int64_t> burst_arrivals(double rate_per_second, std::size_t count,
                                         std::size_t burst) {
  const double gap_ns = checked_gap_ns(rate_per_second, count);
  if (burst == 0) {
    throw invalid_argument("burst is 0; a burst has at least 1 request");
  }
  std::vector<std::int64_t> due_ns(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t first_of_burst = i / burst * burst;
    due_ns[i] = rounded(static_cast<double>(first_of_burst) * gap_ns);
  }
  return due_ns;
}

std::vector<std::int64_t> exponential_service(double mean_ns, std::size_t count,
                                              std::uint64_t seed) {
  if (!(mean_ns >= 0 && mean_ns <= static_cast<double>(longest_span_ns) / 100)) {
    throw invalid_argument("mean_ns is " + formatted(mean_ns) + "; give a time from 0 to 1e16 ns");
  }
  if (count == 0) {
    throw invalid_argument("count is 0; give at least 1");
  }
  require_memory(count, sizeof(std::int64_t), "count " + std::to_string(count), "lower count");

  generator first = stream(seed, service_stream);
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += exponential(first);

  generator again = stream(seed, service_stream);
  const double scale_ns = mean_ns * static_cast<double>(count) / sum;
  std::vector<std::int64_t> service_ns(count);
  for (std::int64_t& service : service_ns) service = rounded(scale_ns * exponential(again));
  return service_ns;
}

}  // namespace gpubench
