// Timelines: records that are appended can be read, and take little memory.
#include "gpubench/timeline.hpp"

#include <vector>

#include "check.hpp"

using namespace gpubench;

namespace {

static_assert(sizeof(batch_record) + sizeof(request) <= 64);
static_assert(sizeof(batch_record) + sizeof(request) + sizeof(device_stamps) <= 96);

void batches_point_at_their_requests() {
  timeline stamps(10, 10, 1, true);
  const std::vector<request> first{{5, 0}, {6, 1}};
  const std::vector<request> second{{7, 2}};
  stamps.append({1, 2, 3, 4, 0, 2}, first.data());
  stamps.append({10, 11, 12, 13});
  CHECK(stamps.batch_count() == 0 && stamps.request_count() == 0);
  stamps.publish();
  stamps.append({5, 6, 7, 8, 0, 1}, second.data());
  stamps.append({20, 21, 22, 23});
  CHECK(stamps.batch_count() == 1 && stamps.request_count() == 2);
  stamps.publish();
  CHECK(stamps.batch_count() == 2 && stamps.request_count() == 3);
  CHECK(stamps.batches()[1].first_request == 2);
  CHECK(stamps.requests()[2].scheduled_ns == 7);
  CHECK((stamps.stamps()[1] == device_stamps{20, 21, 22, 23}));
  CHECK(stamps.stamp_count() == 0);  // the stamps are not on the host's clock yet
  stamps.publish_stamps(1);
  CHECK(stamps.stamp_count() == 1 && stamps.batch_count() == 2);
}

void nothing_moves_within_the_capacity() {
  timeline stamps(1000, 10, 4, false);
  const batch_record* const batches = stamps.batches();
  const request* const requests = stamps.requests();
  const request one{};
  for (int i = 0; i < 1000; ++i) stamps.append({0, 0, 0, 0, 0, 1}, &one);
  stamps.publish();
  CHECK(stamps.batches() == batches && stamps.requests() == requests);
  CHECK(stamps.request_count() == 1000);
}

}  // namespace

int main() {
  return run_tests(TEST(batches_point_at_their_requests), TEST(nothing_moves_within_the_capacity));
}
