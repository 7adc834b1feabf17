// Simulated fleets: small cases with results computed by hand, and the queues of textbooks.
#include "gpubench/fleet.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "gpubench/arrivals.hpp"
#include "gpubench/error.hpp"
#include "gpubench/request_source.hpp"
#include "gpubench/simulate.hpp"

using namespace gpubench;

namespace {

using times = std::vector<std::int64_t>;

// One instance with one worker and a constant service time.
fleet_options constant_service(std::int64_t service_ns) {
  fleet_options options;
  options.instance.service_ns = {{service_ns}};
  return options;
}

fleet_load at(times due_ns, std::int64_t span_ns) {
  return {{{span_ns, 1}}, std::move(due_ns)};
}

std::uint64_t late(const fleet_outcome& outcome) {
  std::uint64_t sum = 0;
  for (const auto& period : outcome.periods) sum += period.late;
  return sum;
}

std::uint64_t served(const fleet_outcome& outcome) {
  std::uint64_t sum = 0;
  for (const auto& period : outcome.periods) sum += period.latency.count();
  return sum;
}

times launches(const fleet_outcome& outcome) {
  times all;
  for (const auto& each : outcome.instances) all.push_back(each.launched_ns);
  return all;
}

void requests_queue_at_a_busy_instance() {
  fleet_options options = constant_service(10);
  options.late_after_ns = 19;
  const fleet_outcome result = simulate_fleet(at({0, 1, 2, 50}, 100), options);
  CHECK(served(result) == 4);
  CHECK(late(result) == 1);  // the latencies are 10, 19, 28, 10
  CHECK(result.mean_latency_ns == 67.0 / 4);
  CHECK(result.periods[0].latency.at_rank(4) == 28);
  CHECK(result.end_ns == 60);
  CHECK(result.instances[0].busy_ns == 40);
}

void requests_are_counted_in_the_period_in_which_they_arrive() {
  fleet_options options = constant_service(10);
  options.late_after_ns = 10;
  options.report_period_ns = 40;
  const fleet_outcome result = simulate_fleet(at({0, 35, 39, 40, 99}, 100), options);
  CHECK(result.periods.size() == 3);
  CHECK(result.periods[0].latency.count() == 3 && result.periods[0].late == 1);
  CHECK(result.periods[1].latency.count() == 1 && result.periods[1].late == 1);
  CHECK(result.periods[2].latency.count() == 1 && result.periods[2].late == 0);
}

void the_load_goes_to_the_instance_with_the_fewest_requests() {
  fleet_options options = constant_service(10);
  options.scaling.least = options.scaling.most = options.scaling.first = 2;
  const fleet_outcome result = simulate_fleet(at({0, 1, 2, 3}, 100), options);
  // Each instance gets one of the first two and one of the last two, whatever the ties.
  CHECK(result.periods[0].latency.at_rank(1) == 10);
  CHECK(result.periods[0].latency.at_rank(4) <= 19);
  CHECK(result.instances[0].busy_ns + result.instances[1].busy_ns == 40);
}

void a_batch_waits_for_more_requests_and_takes_the_time_of_its_size() {
  fleet_options options;
  options.instance.batch = {3, 100};
  options.instance.service_ns = {{1}, {2}, {3}};
  const fleet_outcome result = simulate_fleet(at({0, 5, 9, 40, 45, 300}, 1000), options);
  // Departures at 9, 140 and 400, as in simulate_test.cpp, with 3, 2 and 1 requests.
  CHECK(result.mean_latency_ns == (12 + 7 + 3 + 102 + 97 + 101) / 6.0);
  CHECK(result.end_ns == 401);
}

// An instance serves 10 requests a second; the target is 5. The autoscaler looks every second.
fleet_options autoscaled() {
  fleet_options options = constant_service(100'000'000);
  options.scaling.least = 1;
  options.scaling.most = 3;
  options.scaling.target_per_second = 5;
  options.scaling.period_ns = 1'000'000'000;
  options.scaling.start_ns = 1'500'000'000;
  options.scaling.scale_down_delay_ns = 2'000'000'000;
  options.late_after_ns = 100'000'000;
  return options;
}

// `count` requests in each second, at equal distances.
times in_each_second(const std::vector<int>& counts) {
  times due;
  std::int64_t second = 0;
  for (const int count : counts) {
    for (int i = 0; i < count; ++i) due.push_back(second + i * (1'000'000'000 / count));
    second += 1'000'000'000;
  }
  return due;
}

void a_day_worked_out_by_hand() {
  // Arrivals in the seconds 0, 1, ...: 5, 15, 15, 5, 5, 0, 0, 0. Desired at 1: 1; at 2: 3; at 3: 3;
  // at 4, 5: 1; at 6, 7: 1. The two launched at 2 s serve from 3.5 s. At 3 s nothing changes. The
  // last evaluation at which 3 were desired, that at 3 s, leaves the window of 2 s after 5 s, so
  // both are removed at 6 s.
  const fleet_outcome result =
      simulate_fleet(at(in_each_second({5, 15, 15, 5, 5, 0, 0, 0}), 8'000'000'000), autoscaled());
  CHECK((launches(result) == times{0, 2'000'000'000, 2'000'000'000}));
  CHECK(served(result) == 45);
  for (std::size_t i : {1, 2}) {
    CHECK(result.instances[i].serving_ns == 3'500'000'000);
    CHECK(result.instances[i].removed_ns == 6'000'000'000);
    CHECK(result.instances[i].stopped_ns == 6'000'000'000);
  }
  CHECK(result.instances[0].removed_ns == never_ns && result.instances[0].stopped_ns == never_ns);
  // From 1 s to 3 s 30 requests arrive every 66.7 ms at an instance that takes 100 ms for each: all
  // but the first wait. The three at 3.0, 3.2 and 3.4 s find 10, 9 and 8 before them. The one
  // at 3.6 s goes to an idle instance.
  CHECK(late(result) == 29 + 3);
  CHECK(result.instances[0].busy_ns + result.instances[1].busy_ns + result.instances[2].busy_ns ==
        4'500'000'000);
}

void an_instance_that_is_removed_while_it_starts_never_serves() {
  fleet_options options = autoscaled();
  options.scaling.start_ns = 10'000'000'000;
  options.scaling.scale_down_delay_ns = 0;
  const fleet_outcome result =
      simulate_fleet(at(in_each_second({10, 5, 5, 5}), 4'000'000'000), options);
  CHECK((launches(result) == times{0, 1'000'000'000}));
  CHECK(result.instances[1].serving_ns == never_ns);
  CHECK(result.instances[1].stopped_ns == 2'000'000'000);
}

void a_removed_instance_answers_the_requests_that_it_has() {
  fleet_options options = autoscaled();
  options.scaling.least = 1;
  options.scaling.most = options.scaling.first = 2;
  options.scaling.scale_down_delay_ns = 0;
  options.instance.service_ns = {{5'000'000'000}};
  const fleet_outcome result =
      simulate_fleet(at({900'000'000, 900'000'001}, 9'000'000'000), options);
  CHECK(result.instances[1].removed_ns == 1'000'000'000);
  CHECK(result.instances[1].stopped_ns / 10 == 590'000'000);
  CHECK(result.periods[0].latency.at_rank(2) <= 5'000'000'000);
}

void a_request_launches_an_instance_if_there_is_none() {
  fleet_options options = autoscaled();
  options.scaling.least = options.scaling.first = 0;
  const fleet_outcome result =
      simulate_fleet(at({500'000'000, 700'000'000}, 9'000'000'000), options);
  CHECK((launches(result) == times{500'000'000}));
  CHECK(result.instances[0].serving_ns == 2'000'000'000);
  // Served from 2.0 and from 2.1 s: latencies of 1.6 and 1.5 s.
  CHECK(result.mean_latency_ns == 1'550'000'000);
  // 1 is desired at 1 s for the last time; 2 s later it still counts.
  CHECK(result.instances[0].removed_ns == 4'000'000'000);
  CHECK(result.instances[0].busy_ns == 200'000'000);
}

void a_shared_queue_is_the_queue_of_simulate() {
  const times due = poisson_arrivals(1000, 20'000, 3);
  for (const std::size_t max_batch : {std::size_t{1}, std::size_t{4}}) {
    run_options expected_options;
    expected_options.batch = {max_batch, max_batch > 1 ? 2'000'000 : 0};
    expected_options.capacity = due.size();
    open_loop source(due);
    const outcome expected = simulate(source, 3, {2'900'000}, expected_options);
    double sum = 0;
    std::int64_t largest = 0;
    for (const auto& line : expected.timelines) {
      for (std::size_t i = 0; i < line->batch_count(); ++i) {
        const batch_record& batch = line->batches()[i];
        for (std::size_t j = 0; j < batch.size; ++j) {
          const std::int64_t latency =
              batch.completed_ns - line->requests()[batch.first_request + j].scheduled_ns;
          sum += static_cast<double>(latency);
          largest = std::max(largest, latency);
        }
      }
    }
    // Three instances with a worker each, and one with three.
    for (const std::size_t workers : {std::size_t{1}, std::size_t{3}}) {
      fleet_options options;
      options.instance.workers = workers;
      options.instance.batch = expected_options.batch;
      options.instance.service_ns.assign(max_batch, {2'900'000});
      options.scaling.least = options.scaling.most = options.scaling.first = 3 / workers;
      options.balancing = balancing_rule::shared;
      const fleet_outcome result = simulate_fleet(at(due, 21'000'000'000), options);
      CHECK(served(result) == due.size());
      CHECK(std::abs(result.mean_latency_ns / (sum / 20'000) - 1) < 1e-12);
      CHECK(result.periods[0].latency.at_rank(20'000) == largest);
    }
  }
}

// Erlang C: mean wait = P(wait) * service / (servers * (1 - load)).
double mmc_latency(double servers, double load) {
  double term = 1;
  double sum = 0;
  for (int k = 0; k < servers; ++k) {
    sum += term;
    term *= servers * load / (k + 1);
  }
  const double wait = term / (1 - load) / (sum + term / (1 - load));
  return 1 + wait / (servers * (1 - load));
}

void mean_latencies_are_those_of_queueing_theory() {
  const fleet_load load{{{1'000'000'000'000, 1000}}, {}};  // a million requests
  fleet_options options;
  options.balancing = balancing_rule::shared;
  const auto mean = [&](std::size_t instances, const times& service) {
    options.instance.service_ns = {service};
    options.scaling.least = options.scaling.most = options.scaling.first = instances;
    return simulate_fleet(load, options).mean_latency_ns;
  };
  // M/M/4 at load 0.8.
  const times service = exponential_service(3.2e6, 1'000'000, 1);
  CHECK(std::abs(mean(4, service) / (3.2e6 * mmc_latency(4, 0.8)) - 1) < 0.02);
  // M/D/1 at load 0.8: 1 + load / (2 (1 - load)) = 3.
  CHECK(std::abs(mean(1, {800'000}) / (3 * 800'000.0) - 1) < 0.02);
  // A random split of a Poisson process gives M/D/1 at each instance.
  options.balancing = balancing_rule::random;
  CHECK(std::abs(mean(4, {3'200'000}) / (3 * 3'200'000.0) - 1) < 0.02);
}

void arrivals_follow_the_rate() {
  fleet_options options = constant_service(0);
  options.report_period_ns = 1'000'000'000'000;
  const fleet_load load{
      {{1'000'000'000'000, 100}, {2'000'000'000'000, 0}, {3'000'000'000'000, 300}}, {}};
  const fleet_outcome result = simulate_fleet(load, options);
  const auto count = [&](std::size_t i) {
    return static_cast<double>(result.periods[i].latency.count());
  };
  CHECK(std::abs(count(0) - 100'000) < 4 * std::sqrt(100'000));
  CHECK(count(1) == 0);
  CHECK(std::abs(count(2) - 300'000) < 4 * std::sqrt(300'000));
}

// These values must never change, on any platform or compiler.
void a_seed_gives_the_same_outcome_everywhere() {
  fleet_options options = autoscaled();
  options.seed = 42;
  const fleet_load load{{{50'000'000'000, 8}, {100'000'000'000, 20}}, {}};
  const fleet_outcome result = simulate_fleet(load, options);
  CHECK(served(result) == 1365 && late(result) == 479);
  CHECK(result.end_ns == 100'078'874'669);
}

void a_histogram_is_at_most_a_256th_too_high() {
  latency_histogram histogram;
  times values;
  for (std::int64_t value = 1; value < 4'000'000'000'000'000'000; value += 1 + value / 7) {
    histogram.add(value);
    values.push_back(value);
  }
  histogram.add(never_ns);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t found = histogram.at_rank(i + 1);
    CHECK(found >= values[i] && found - values[i] <= values[i] / 256);
  }
  CHECK(histogram.at_rank(values.size() + 1) == never_ns);
  CHECK(message_of<invalid_argument>([&] { return histogram.at_rank(0); }) != "");
}

void a_predicate_stops_a_simulation() {
  const fleet_load load{{{longest_span_ns, 1000}}, {}};
  int asked = 0;
  const fleet_outcome result =
      simulate_fleet(load, constant_service(10), [&asked] { return ++asked == 3; });
  CHECK(asked == 3);
  CHECK(served(result) > 0 && served(result) < 100'000);
  CHECK(message_of<std::runtime_error>([&] {
          return simulate_fleet(load, constant_service(10),
                                []() -> bool { throw std::runtime_error("enough"); });
        }) == "enough");
}

void bad_options_are_refused() {
  const auto refused = [](const fleet_load& load, const fleet_options& options) {
    return message_of<invalid_argument>([&] { return simulate_fleet(load, options); });
  };
  const fleet_options good = constant_service(1);
  CHECK(refused({}, good).find("no step") != std::string::npos);
  CHECK(refused({{{10, 1}, {10, 1}}, {}}, good).find("until_ns") == 0);
  CHECK(refused({{{10, -1}}, {}}, good).find("the rate of a step is -1") == 0);
  CHECK(refused(at({5, 4}, 10), good).find("not sorted") != std::string::npos);
  CHECK(refused(at({10}, 10), good).find("outside the load") != std::string::npos);
  fleet_options options = good;
  options.instance.batch = {2, 1};
  CHECK(refused(at({1}, 10), options).find("each size") != std::string::npos);
  options = good;
  options.scaling.least = 2;
  CHECK(refused(at({1}, 10), options).find("in this order") != std::string::npos);
  options = good;
  options.report_period_ns = 1;
  CHECK(refused(at({1}, 100'000), options).find("report_period_ns") == 0);
  options = good;
  options.scaling.most = 1'000'000'000'000;
  CHECK(refused(at({1}, 10), options).find("lower most") != std::string::npos);
}

}  // namespace

int main() {
  return run_tests(TEST(requests_queue_at_a_busy_instance),
                   TEST(requests_are_counted_in_the_period_in_which_they_arrive),
                   TEST(the_load_goes_to_the_instance_with_the_fewest_requests),
                   TEST(a_batch_waits_for_more_requests_and_takes_the_time_of_its_size),
                   TEST(a_day_worked_out_by_hand),
                   TEST(an_instance_that_is_removed_while_it_starts_never_serves),
                   TEST(a_removed_instance_answers_the_requests_that_it_has),
                   TEST(a_request_launches_an_instance_if_there_is_none),
                   TEST(a_shared_queue_is_the_queue_of_simulate),
                   TEST(mean_latencies_are_those_of_queueing_theory),
                   TEST(arrivals_follow_the_rate), TEST(a_seed_gives_the_same_outcome_everywhere),
                   TEST(a_histogram_is_at_most_a_256th_too_high),
                   TEST(a_predicate_stops_a_simulation), TEST(bad_options_are_refused));
}
