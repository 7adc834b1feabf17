// Simulated time: small cases worked out by hand.
#include "gpubench/simulate.hpp"

#include <utility>
#include <vector>

#include "check.hpp"
#include "gpubench/error.hpp"

using namespace gpubench;

namespace {

using times = std::vector<std::int64_t>;

times departures(const outcome& result) {
  times all;
  for (const auto& each : result.timelines) {
    for (std::size_t i = 0; i < each->batch_count(); ++i) {
      all.push_back(each->batches()[i].departed_ns);
    }
  }
  return all;
}

times sizes(const outcome& result) {
  times all;
  for (const auto& each : result.timelines) {
    for (std::size_t i = 0; i < each->batch_count(); ++i) all.push_back(each->batches()[i].size);
  }
  return all;
}

void requests_queue_behind_a_busy_worker() {
  open_loop source({0, 1, 2, 50});
  const outcome result = simulate(source, 1, {10}, {});
  CHECK(result.reason == end_reason::finished);
  CHECK((departures(result) == times{0, 10, 20, 50}));
  CHECK(result.completed == 4 && result.offered() == 4);
}

void a_batch_departs_when_it_is_full_or_its_first_request_waited_long_enough() {
  run_options options;
  options.batch = {3, 100};
  open_loop source({0, 5, 9, 40, 45, 300});
  const outcome result = simulate(source, 1, {1}, options);
  CHECK((departures(result) == times{9, 140, 400}));
  CHECK((sizes(result) == times{3, 2, 1}));
}

void a_client_sends_again_after_its_think_time() {
  closed_loop source(1, 7);
  run_options options;
  options.stop_after_completions = 3;
  const outcome result = simulate(source, 1, {10}, options);
  CHECK(result.reason == end_reason::completions);
  CHECK((departures(result) == times{0, 17, 34}));
  CHECK(result.end_ns == 44);
}

void what_was_due_and_never_departed_is_listed() {
  open_loop source({0, 1, 2, 3, 100});
  run_options options;
  options.stop_after_ns = 15;
  const outcome result = simulate(source, 1, {10}, options);
  CHECK(result.reason == end_reason::time);
  CHECK(result.end_ns == 15);
  CHECK(result.completed == 2);
  CHECK((result.unfinished_scheduled_ns == times{2, 3}));
  CHECK(result.offered() == 4);
}

void a_full_timeline_ends_the_run_and_an_exact_fit_does_not() {
  run_options options;
  options.capacity = 3;
  open_loop four({0, 1, 2, 3});
  CHECK(simulate(four, 1, {10}, options).reason == end_reason::timeline_full);
  open_loop three({0, 1, 2});
  CHECK(simulate(three, 1, {10}, options).reason == end_reason::finished);
}

}  // namespace

int main() {
  return run_tests(TEST(requests_queue_behind_a_busy_worker),
                   TEST(a_batch_departs_when_it_is_full_or_its_first_request_waited_long_enough),
                   TEST(a_client_sends_again_after_its_think_time),
                   TEST(what_was_due_and_never_departed_is_listed),
                   TEST(a_full_timeline_ends_the_run_and_an_exact_fit_does_not));
}
