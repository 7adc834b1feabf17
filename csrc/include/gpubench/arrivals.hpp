// When requests arrive in an open loop: offsets from the start in nanoseconds, sorted.
//
// A seed gives the same schedule on every platform: generator and logarithm are the project's own
// and use only operations that IEEE 754 rounds correctly. `count` requests take `count / rate`
// seconds exactly, so the rate offered is the rate asked for, whatever the seed.
//
// All throw invalid_argument for a rate that is not a positive finite number, for no request, for a
// schedule longer than longest_span_ns, and for more requests than memory allows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gpubench {

// One request every 1 / rate, the first at once.
[[nodiscard]] std::vector<std::int64_t> constant_arrivals(double rate_per_second,
                                                          std::size_t count);

// A Poisson process, given that it has `count` arrivals in `count / rate` seconds.
[[nodiscard]] std::vector<std::int64_t> poisson_arrivals(double rate_per_second, std::size_t count,
                                                         std::uint64_t seed);

// Groups of `burst` requests due at the same moment, one group every burst / rate.
[[nodiscard]] std::vector<std::int64_t> burst_arrivals(double rate_per_second, std::size_t count,
                                                       std::size_t burst);

// Exponential service times with the given mean, scaled so that it is met (to rounding). Drawn
// independently of poisson_arrivals() with the same seed.
// Throws invalid_argument for a mean that is negative or not finite, and for no request.
[[nodiscard]] std::vector<std::int64_t> exponential_service(double mean_ns, std::size_t count,
                                                            std::uint64_t seed);

}  // namespace gpubench
