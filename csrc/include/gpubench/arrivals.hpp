// When requests arrive in an open loop: offsets from the start of the run in nanoseconds, sorted.
//
// A seed gives the same schedule on every platform: the random generator and the logarithm are
// implemented here and use only operations that IEEE 754 rounds correctly. `count` requests take
// exactly `count / rate` seconds, so the offered rate is the requested rate for every seed.
//
// The functions throw invalid_argument if the rate is not a positive finite number, if `count` is
// 0, if the schedule is longer than longest_span_ns, and if it does not fit into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gpubench {

// One request every 1 / rate seconds; the first one at 0.
[[nodiscard]] std::vector<std::int64_t> constant_arrivals(double rate_per_second,
                                                          std::size_t count);

// A Poisson process under the condition that `count` requests arrive in `count / rate` seconds.
[[nodiscard]] std::vector<std::int64_t> poisson_arrivals(double rate_per_second, std::size_t count,
                                                         std::uint64_t seed);

// Groups of `burst` requests that arrive at the same time, one group every burst / rate seconds.
[[nodiscard]] std::vector<std::int64_t> burst_arrivals(double rate_per_second, std::size_t count,
                                                       std::size_t burst);

// Exponential service times. They are scaled so that their mean is `mean_ns`, up to rounding. They
// are independent of poisson_arrivals() with the same seed.
// Throws invalid_argument if the mean is negative or not finite, and if `count` is 0.
[[nodiscard]] std::vector<std::int64_t> exponential_service(double mean_ns, std::size_t count,
                                                            std::uint64_t seed);

}  // namespace gpubench
