#include "gpubench/timeline.hpp"

#include <algorithm>

namespace gpubench {
namespace {

// Reserves memory for `capacity` records and prefaults the pages of the first `expected` ones, so
// that no page fault happens during the run.
template <class Record>
void reserve(std::vector<Record>& records, std::size_t capacity, std::size_t expected) {
  records.reserve(capacity);
  records.resize(std::min(expected, capacity));
  records.clear();
}

}  // namespace

timeline::timeline(std::size_t capacity, std::size_t expected, std::size_t expected_batch,
                   bool device_times)
    : device_times_(device_times) {
  const std::size_t expected_batches = expected / expected_batch + 1;
  reserve(requests_, capacity, expected);
  reserve(batches_, capacity, expected_batches);
  if (device_times_) reserve(stamps_, capacity, expected_batches);
}

std::size_t timeline::request_count() const noexcept {
  const std::size_t batches = batch_count();
  if (batches == 0) return 0;
  const batch_record& last = batches_.data()[batches - 1];
  return std::size_t{last.first_request} + last.size;
}

}  // namespace gpubench
