#include "gpubench/latency_histogram.hpp"

#include <algorithm>
#include <string>

#include "gpubench/error.hpp"

namespace gpubench {
namespace {

// Values below 512 have a counter each. Larger ones are counted by their first 9 bits.
constexpr int histogram_bits = 9;
constexpr std::uint64_t first_shared_value = 1 << histogram_bits;

std::size_t counter_of(std::uint64_t value) noexcept {
  if (value < first_shared_value) return value;
  const int shift = 64 - __builtin_clzll(value) - histogram_bits;
  return (static_cast<std::size_t>(shift) << (histogram_bits - 1)) + (value >> shift);
}

// The largest value that is counted there.
std::uint64_t largest_of(std::size_t counter) noexcept {
  if (counter < first_shared_value) return counter;
  const std::size_t shift = (counter >> (histogram_bits - 1)) - 1;
  const std::uint64_t first_bits = counter - (shift << (histogram_bits - 1));
  return ((first_bits + 1) << shift) - 1;
}

}  // namespace

void latency_histogram::add(std::int64_t latency_ns) {
  const std::size_t counter = counter_of(static_cast<std::uint64_t>(latency_ns));
  if (counter >= counts_.size()) counts_.resize(counter + 1);
  ++counts_[counter];
  ++count_;
  largest_ns_ = std::max(largest_ns_, latency_ns);
}

void latency_histogram::add(const latency_histogram& other) {
  if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
  for (std::size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  largest_ns_ = std::max(largest_ns_, other.largest_ns_);
}

std::int64_t latency_histogram::at_rank(std::uint64_t rank) const {
  if (rank == 0 || rank > count_) {
    throw invalid_argument("rank is " + std::to_string(rank) + "; give a rank from 1 to " +
                           std::to_string(count_) + ", the number of requests");
  }
  std::uint64_t passed = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    passed += counts_[i];
    if (passed >= rank) {
      return std::min(static_cast<std::int64_t>(largest_of(i)), largest_ns_);
    }
  }
  return largest_ns_;
}

}  // namespace gpubench
