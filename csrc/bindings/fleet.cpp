#include "fleet.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert.hpp"
#include "gil.hpp"
#include "gpubench/fleet.hpp"
#include "signals.hpp"

namespace py = pybind11;
using namespace py::literals;

namespace {

gpubench::balancing_rule to_balancing(const argument<std::string>& given) {
  constexpr const char* wanted = "'random', 'least-requests' or 'shared'";
  if (!py::isinstance<py::str>(given.given)) throw wrong_type("balancing", wanted, given.given);
  const std::string name = given.to("balancing", wanted);
  if (name == "random") return gpubench::balancing_rule::random;
  if (name == "least-requests") return gpubench::balancing_rule::least_requests;
  if (name == "shared") return gpubench::balancing_rule::shared;
  throw py::value_error("balancing is '" + name + "'; choose random, least-requests or shared");
}

std::vector<gpubench::rate_step> to_steps(const py::object& until_ns,
                                          const argument<std::vector<double>>& rates) {
  const nanoseconds ends = integers(until_ns, "until_ns");
  const auto per_second = rates.to("rate_per_second", "a list of numbers");
  const auto count = static_cast<std::size_t>(ends.size());
  if (count != per_second.size()) {
    throw py::value_error("until_ns has " + std::to_string(count) +
                          " entries and rate_per_second has " + std::to_string(per_second.size()) +
                          "; give one of each for every step");
  }
  std::vector<gpubench::rate_step> steps(count);
  for (std::size_t i = 0; i < count; ++i) steps[i] = {ends.data()[i], per_second[i]};
  return steps;
}

template <class Record, class Value>
nanoseconds collect(const std::vector<Record>& records, const Value& value) {
  nanoseconds column(static_cast<py::ssize_t>(records.size()));
  std::transform(records.begin(), records.end(), column.mutable_data(), value);
  return nanoseconds(read_only(column));
}

auto instance_column(std::int64_t gpubench::instance_record::* member) {
  return [member](const gpubench::fleet_outcome& self) {
    return collect(self.instances, [member](const auto& record) { return record.*member; });
  };
}

gpubench::latency_histogram latencies(const gpubench::fleet_outcome& outcome,
                                      const std::optional<std::size_t>& period) {
  if (period && *period >= outcome.periods.size()) {
    throw py::value_error("period is " + std::to_string(*period) + "; there are " +
                          std::to_string(outcome.periods.size()) + " periods, from 0");
  }
  if (period) return outcome.periods[*period].latency;
  gpubench::latency_histogram all;
  for (const gpubench::period_record& each : outcome.periods) all.add(each.latency);
  return all;
}

}  // namespace

void bind_fleet(py::module_& m) {
  using gpubench::fleet_outcome;
  py::class_<fleet_outcome>(
      m, "FleetOutcome",
      "What a simulated fleet did. Columns of instances are in the order in which they were "
      "launched; 2**63 - 1 stands for never, or not before the end of the load.")
      .def_readonly("span_ns", &fleet_outcome::span_ns, "The length of the load.")
      .def_readonly("end_ns", &fleet_outcome::end_ns, "When the last request was completed.")
      .def_readonly("mean_latency_ns", &fleet_outcome::mean_latency_ns,
                    "Over all requests; 0 if there was none.")
      .def_property_readonly(
          "requests",
          [](const fleet_outcome& self) {
            return collect(self.periods, [](const auto& period) {
              return static_cast<std::int64_t>(period.latency.count());
            });
          },
          "Per period: the requests that arrived in it.")
      .def_property_readonly(
          "late",
          [](const fleet_outcome& self) {
            return collect(self.periods, [](const auto& period) {
              return static_cast<std::int64_t>(period.late);
            });
          },
          "Per period: those of its requests that were late.")
      .def(
          "latency_ns",
          [](const fleet_outcome& self, const integer_argument& rank,
             const std::optional<integer_argument>& period) {
            std::optional<std::size_t> number;
            if (period) number = to_count(*period, "period");
            return latencies(self, number).at_rank(to_count(rank, "rank"));
          },
          "rank"_a, "period"_a = py::none(),
          "The latency of a rank (rank 1 is the smallest) among all requests, or those of a "
          "period. It is never too low, and at most 0.4% too high. Raises ValueError if there is "
          "no such rank or period.")
      .def_property_readonly("launched_ns",
                             instance_column(&gpubench::instance_record::launched_ns),
                             "Per instance: when it was launched.")
      .def_property_readonly("serving_ns", instance_column(&gpubench::instance_record::serving_ns),
                             "Per instance: when it began to serve.")
      .def_property_readonly("removed_ns", instance_column(&gpubench::instance_record::removed_ns),
                             "Per instance: when the autoscaler removed it.")
      .def_property_readonly("stopped_ns", instance_column(&gpubench::instance_record::stopped_ns),
                             "Per instance: when it stopped.")
      .def_property_readonly("busy_ns", instance_column(&gpubench::instance_record::busy_ns),
                             "Per instance: for how long it had at least one request.");

  m.def(
      "simulate_fleet",
      [](const py::object& until_ns, const argument<std::vector<double>>& rate_per_second,
         const std::optional<py::object>& due_ns, const py::sequence& service_ns,
         const integer_argument& workers, const integer_argument& max_batch,
         const integer_argument& max_delay_ns, const integer_argument& least,
         const integer_argument& most, const integer_argument& first,
         const real_argument& target_per_second, const integer_argument& period_ns,
         const integer_argument& start_ns, const integer_argument& scale_down_delay_ns,
         const argument<std::string>& balancing,
         const std::optional<integer_argument>& late_after_ns,
         const std::optional<integer_argument>& report_period_ns, const integer_argument& seed) {
        gpubench::fleet_load load;
        load.steps = to_steps(until_ns, rate_per_second);
        if (due_ns) {
          const nanoseconds times = integers(*due_ns, "due_ns");
          load.due_ns.assign(times.data(), times.data() + times.size());
          if (load.due_ns.empty()) throw py::value_error("due_ns is empty; give at least 1 time");
        }
        gpubench::fleet_options options;
        options.instance.workers = to_count(workers, "workers");
        options.instance.batch = {to_count(max_batch, "max_batch"),
                                  to_int64(max_delay_ns, "max_delay_ns")};
        for (const py::handle table : service_ns) {
          options.instance.service_ns.push_back(
              service_table(py::reinterpret_borrow<py::object>(table)));
        }
        gpubench::scaling_options& scaling = options.scaling;
        scaling.least = to_count(least, "least");
        scaling.most = to_count(most, "most");
        scaling.first = to_count(first, "first");
        scaling.target_per_second = to_double(target_per_second, "target_per_second");
        scaling.period_ns = to_int64(period_ns, "period_ns");
        scaling.start_ns = to_int64(start_ns, "start_ns");
        scaling.scale_down_delay_ns = to_int64(scale_down_delay_ns, "scale_down_delay_ns");
        options.balancing = to_balancing(balancing);
        options.late_after_ns =
            to_int64(late_after_ns, "late_after_ns").value_or(gpubench::never_ns);
        options.report_period_ns =
            to_int64(report_period_ns, "report_period_ns").value_or(gpubench::never_ns);
        options.seed = to_seed(seed.given, "seed");
        return without_gil([&] { return simulate_fleet(load, options, signal_check()); });
      },
      "until_ns"_a, "rate_per_second"_a, py::kw_only(), "due_ns"_a = py::none(), "service_ns"_a,
      "workers"_a = 1, "max_batch"_a = 1, "max_delay_ns"_a = 0, "least"_a = 1, "most"_a = 1,
      "first"_a = 1, "target_per_second"_a = 1.0, "period_ns"_a = 15'000'000'000, "start_ns"_a = 0,
      "scale_down_delay_ns"_a = 300'000'000'000, "balancing"_a = "least-requests",
      "late_after_ns"_a = py::none(), "report_period_ns"_a = py::none(), "seed"_a = 0,
      "Instances that start and stop serve a load, in simulated time. The load has steps: "
      "`rate_per_second` requests arrive at random (Poisson) until `until_ns`; or requests arrive "
      "at `due_ns`. Each instance has `workers`, and `service_ns` holds the service times of its "
      "batches, one table for each size from 1 to max_batch. The autoscaler keeps from `least` to "
      "`most` instances. Deterministic for a seed. Ctrl-C ends it within a second without a "
      "result.");
}
