// Latencies of any number of requests in little memory.
#pragma once

#include <cstdint>
#include <vector>

namespace gpubench {

// Counts latencies by their value. Of two values that are counted as one, the larger is at most 1 /
// 256 larger.
class latency_histogram {
 public:
  void add(std::int64_t latency_ns);
  void add(const latency_histogram& other);
  std::uint64_t count() const noexcept { return count_; }

  // The latency of a rank; rank 1 is the smallest. It is never too low, and at most 1 / 256 too
  // high. Throws invalid_argument if there is no such rank.
  std::int64_t at_rank(std::uint64_t rank) const;

 private:
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::int64_t largest_ns_ = 0;
};

}  // namespace gpubench
