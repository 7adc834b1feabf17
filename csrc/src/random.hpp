// Random numbers that a seed determines on every platform.
//
// A source file that includes this is compiled with -ffp-contract=off (cmake/core.cmake): a fused
// multiply-add rounds differently, and some processors have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gpubench {

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
class generator {
 public:
  explicit generator(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

// One seed gives independent streams of random numbers, one for each of these constants.
inline constexpr std::uint64_t arrivals_stream = 0x6172726976616c73;
inline constexpr std::uint64_t service_stream = 0x7365727669636573;
inline constexpr std::uint64_t balancing_stream = 0x62616c616e63696e;

inline generator stream(std::uint64_t seed, std::uint64_t name) {
  return generator(generator(seed).next() ^ name);
}

// log(x) for a normal number x > 0, with a relative error below 1e-15. It does not call std::log,
// whose last bit differs between C libraries. With x = m 2^e and m in [sqrt(1/2), sqrt(2)), log x =
// e log 2 + 2 artanh((m - 1) / (m + 1)).
inline double natural_logarithm(double x) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
  double m = 0;
  std::memcpy(&m, &bits, sizeof m);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1) / (m + 1);  // |s| < 0.1716
  const double s2 = s * s;
  double series = 0;
  for (int k = 23; k >= 1; k -= 2) series = series * s2 + 1.0 / k;
  return exponent * 0.6931471805599453 + 2 * s * series;
}

// An exponential random number with mean 1, by inversion of the distribution function.
inline double exponential(generator& random) {
  const double uniform = (static_cast<double>(random.next() >> 11) + 1) * 0x1p-53;  // (0, 1]
  return -natural_logarithm(uniform);
}

// A uniform random number below `count`, with a bias below count / 2^32. REQUIRES: 0 < count <
// 2^32.
inline std::size_t below(generator& random, std::size_t count) {
  return static_cast<std::size_t>(((random.next() >> 32) * count) >> 32);
}

}  // namespace gpubench
