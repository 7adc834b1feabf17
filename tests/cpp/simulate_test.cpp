// Simulated time: small cases with results computed by hand.
#include "gpubench/simulate.hpp"

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "gpubench/clock.hpp"
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

void requests_that_were_due_and_never_departed_are_listed() {
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

void a_predicate_stops_a_simulation() {
  closed_loop source(1);
  run_options options;
  options.capacity = 1'000'000;
  int asked = 0;
  const outcome result = simulate(source, 1, {10}, options, [&asked] { return ++asked == 3; });
  CHECK(result.reason == end_reason::stopped);
  CHECK(asked == 3);
  CHECK(result.completed > 0 && result.completed < 100'000);
}

void an_exception_of_the_predicate_leaves_the_source_free() {
  closed_loop source(1);
  run_options options;
  options.stop_after_completions = 100'000;
  CHECK(message_of<std::runtime_error>([&] {
          return simulate(source, 1, {10}, options,
                          []() -> bool { throw std::runtime_error("enough"); });
        }) == "enough");
  CHECK(simulate(source, 1, {10}, options).completed == 100'000);
}

void a_clock_beyond_all_times_is_refused() {
  closed_loop source(1, longest_span_ns);
  const std::string message =
      message_of<invalid_argument>([&] { return simulate(source, 1, {longest_span_ns}, {}); });
  CHECK(message.find("the simulated clock passed 4e18 ns") == 0);
}

void a_simulation_that_does_not_fit_into_memory_is_refused() {
  closed_loop source(1);
  CHECK(message_of<invalid_argument>([&] {
          return simulate(source, 1'000'000'000'000, {1}, {});
        }).find("lower executors") != std::string::npos);
  run_options options;
  options.batch.max_batch = 4'000'000'000;
  CHECK(message_of<invalid_argument>([&] {
          return simulate(source, 100, {1}, options);
        }).find("lower max_batch") != std::string::npos);
}

}  // namespace

int main() {
  return run_tests(TEST(requests_queue_behind_a_busy_worker),
                   TEST(a_batch_departs_when_it_is_full_or_its_first_request_waited_long_enough),
                   TEST(a_client_sends_again_after_its_think_time),
                   TEST(requests_that_were_due_and_never_departed_are_listed),
                   TEST(a_full_timeline_ends_the_run_and_an_exact_fit_does_not),
                   TEST(a_predicate_stops_a_simulation),
                   TEST(an_exception_of_the_predicate_leaves_the_source_free),
                   TEST(a_clock_beyond_all_times_is_refused),
                   TEST(a_simulation_that_does_not_fit_into_memory_is_refused));
}
