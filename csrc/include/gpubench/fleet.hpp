// A fleet of instances in simulated time: instances that start and stop, a load balancer, and an
// autoscaler. Exact and deterministic for a seed. Keeps a histogram instead of the requests, so the
// memory does not grow with their number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "gpubench/batching.hpp"
#include "gpubench/clock.hpp"
#include "gpubench/latency_histogram.hpp"

namespace gpubench {

// The rate of requests from the end of the step before it (the first one: from 0) until `until_ns`.
struct rate_step {
  std::int64_t until_ns = 0;
  double per_second = 0;
};

// The requests that come in. The load ends with its last step.
struct fleet_load {
  std::vector<rate_step> steps;

  // When requests arrive, sorted. Empty: they arrive as a Poisson process at the rates of the
  // steps.
  std::vector<std::int64_t> due_ns;
};

// Which instance a request goes to.
enum class balancing_rule : std::uint8_t {
  random,          // one of those that serve, at random
  least_requests,  // one with the fewest unfinished requests; at random if there are several
  shared,          // none: all instances take their batches from one queue
};

struct instance_options {
  std::size_t workers = 1;  // batches that an instance executes at the same time
  batching batch;

  // Entry k - 1: the service times of a batch of k requests. Each batch takes one at random.
  std::vector<std::vector<std::int64_t>> service_ns;
};

// The autoscaler. At the end of each period it computes
//     desired = ceil(requests that arrived in the period / period / target_per_second),
// at least `least` and at most `most`. If more instances are desired than serve or start, the
// missing ones are launched. If fewer were desired at every evaluation of the last
// `scale_down_delay_ns`, the ones that were launched last are removed. A removed instance gets no
// new requests and stops when it has answered those that it has.
//
// If no instance serves, requests wait. If none starts either, the request launches one at once.
struct scaling_options {
  std::size_t least = 1;  // least == most: the number is constant
  std::size_t most = 1;
  std::size_t first = 1;         // instances that serve at the start, from `least` to `most`
  double target_per_second = 1;  // requests that an instance is to serve
  std::int64_t period_ns = 15'000'000'000;
  std::int64_t start_ns = 0;  // from the launch until it serves
  std::int64_t scale_down_delay_ns = 300'000'000'000;
};

struct fleet_options {
  instance_options instance;
  scaling_options scaling;
  balancing_rule balancing = balancing_rule::least_requests;
  std::int64_t late_after_ns = never_ns;  // a request with a longer latency is late
  std::int64_t report_period_ns =
      never_ns;  // requests are counted by the period in which they come
  std::uint64_t seed = 0;
};

// When an instance did what. never_ns: it did not, or not before the end of the load.
struct instance_record {
  std::int64_t launched_ns = 0;
  std::int64_t serving_ns = never_ns;
  std::int64_t removed_ns = never_ns;  // by the autoscaler
  std::int64_t stopped_ns = never_ns;
  std::int64_t busy_ns = 0;  // for how long it had at least one request, until the end of the load
};

struct period_record {
  std::uint64_t late = 0;
  latency_histogram latency;  // of the requests that arrived in the period
};

struct fleet_outcome {
  std::int64_t span_ns = 0;                // of the load
  std::int64_t end_ns = 0;                 // when the last request was completed
  double mean_latency_ns = 0;              // of all requests; 0 if there was none
  std::vector<period_record> periods;      // all periods of the load, in order
  std::vector<instance_record> instances;  // in the order in which they were launched
};

// Serves all requests of `load`. At one point in time, completions come first, then instances that
// begin to serve, the autoscaler, arrivals, and departures.
//
// `stop`, if given, is called every few thousand events; see simulate().
//
// Throws invalid_argument for bad options, if there are more than 10 000 report periods, if the
// waiting requests do not fit into memory, and if the simulated clock passes 4e18 ns. An exception
// of `stop` leaves the function. If `stop` returns true, the outcome has what was served until
// then.
[[nodiscard]] fleet_outcome simulate_fleet(const fleet_load& load, const fleet_options& options,
                                           const std::function<bool()>& stop = {});

}  // namespace gpubench
