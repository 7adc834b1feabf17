#include "gpubench/fleet.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <queue>
#include <string>
#include <tuple>
#include <utility>

#include "autoscaler.hpp"
#include "balancer.hpp"
#include "fleet_arrivals.hpp"
#include "gpubench/error.hpp"
#include "memory.hpp"
#include "random.hpp"
#include "service_times.hpp"

namespace gpubench {
namespace {

// Events between two calls of the predicate `stop`. Takes well under a millisecond.
constexpr std::size_t stop_interval = 4096;

// The largest time. The sum of it and of all time spans in the options does not overflow.
constexpr std::int64_t latest_ns = 4 * longest_span_ns;

constexpr std::int64_t most_periods = 10'000;

// From this number of waiting requests, or of launched instances, the free memory is checked at
// each doubling.
constexpr std::size_t first_memory_check = 1 << 20;

void check_span(std::int64_t span_ns, std::int64_t least_ns, const std::string& name) {
  if (span_ns < least_ns || span_ns > longest_span_ns) {
    throw invalid_argument(name + " is " + std::to_string(span_ns) + "; give a time from " +
                           std::to_string(least_ns) + " to 1e18 ns");
  }
}

void check_rate(double rate, bool may_be_zero, const std::string& name) {
  if (std::isfinite(rate) && (rate > 0 || (may_be_zero && rate == 0))) return;
  char text[32];
  std::snprintf(text, sizeof text, "%g", rate);
  throw invalid_argument(name + " is " + text + "; give a positive number of requests per second");
}

void check(const fleet_load& load) {
  if (load.steps.empty()) throw invalid_argument("the load has no step; give at least 1");
  std::int64_t before_ns = 0;
  for (const rate_step& step : load.steps) {
    check_span(step.until_ns, before_ns + 1, "until_ns of a step");
    check_rate(step.per_second, true, "the rate of a step");
    before_ns = step.until_ns;
  }
  if (!std::is_sorted(load.due_ns.begin(), load.due_ns.end())) {
    throw invalid_argument("due_ns is not sorted; sort the due times");
  }
  if (!load.due_ns.empty() && (load.due_ns.front() < 0 || load.due_ns.back() >= before_ns)) {
    throw invalid_argument("due_ns has a time outside the load, which ends at " +
                           std::to_string(before_ns) + "; give times from 0 to before that");
  }
}

void check(const instance_options& instance) {
  if (instance.workers == 0) throw invalid_argument("workers is 0; give at least 1");
  gpubench::check(instance.batch);
  if (instance.service_ns.size() != instance.batch.max_batch) {
    throw invalid_argument("there are service times for " +
                           std::to_string(instance.service_ns.size()) +
                           " sizes of a batch; give them for each size from 1 to max_batch, " +
                           std::to_string(instance.batch.max_batch));
  }
  for (const auto& table : instance.service_ns) check_service_times(table);
}

void check(const scaling_options& scaling, std::size_t workers) {
  if (scaling.most == 0) throw invalid_argument("most is 0; give at least 1 instance");
  if (scaling.least > scaling.most || scaling.first < scaling.least ||
      scaling.first > scaling.most) {
    throw invalid_argument("least " + std::to_string(scaling.least) + ", first " +
                           std::to_string(scaling.first) + " and most " +
                           std::to_string(scaling.most) + " instances; give them in this order");
  }
  require_memory(scaling.most, 1000 + workers * 64, "most " + std::to_string(scaling.most),
                 "lower most");
  check_rate(scaling.target_per_second, false, "target_per_second");
  check_span(scaling.period_ns, 1, "period_ns");
  check_span(scaling.start_ns, 0, "start_ns");
  check_span(scaling.scale_down_delay_ns, 0, "scale_down_delay_ns");
}

// Waiting requests, for form_batch().
class waiting_requests {
 public:
  std::size_t size() const noexcept { return due_ns_.size(); }
  std::int64_t due_ns(std::size_t i) const noexcept { return due_ns_[i]; }
  void push(std::int64_t due_ns) { due_ns_.push_back(due_ns); }
  request pop() {
    const request first{due_ns_.front(), 0};
    due_ns_.pop_front();
    return first;
  }

 private:
  std::deque<std::int64_t> due_ns_;
};

enum class event_kind : std::uint8_t { completion, ready, timer };  // in their order at one time

struct event {
  std::int64_t at_ns;
  event_kind kind;
  std::size_t instance;
  std::size_t requests;  // of the batch that completes

  bool operator>(const event& other) const noexcept {
    return std::tie(at_ns, kind, instance) > std::tie(other.at_ns, other.kind, other.instance);
  }
};

struct queue_state {
  waiting_requests waiting;
  std::int64_t timer_ns = never_ns;  // of the next event that was scheduled to look at the queue
  bool changed = false;              // departures must be looked for at this time
};

struct simulated_instance {
  instance_record record;
  queue_state queue;
  std::size_t free_workers = 0;
  std::size_t unfinished = 0;  // requests that wait in its queue or are in service
  std::int64_t busy_since_ns = 0;
  bool serving = false;
};

template <class Arrivals>
class fleet {
 public:
  fleet(Arrivals arrivals, std::int64_t span_ns, const fleet_options& options)
      : options_(options),
        scaling_(options.scaling),
        is_shared_(options.balancing == balancing_rule::shared),
        arrivals_(std::move(arrivals)),
        service_random_(stream(options.seed, service_stream)),
        balancer_(options.balancing, options.seed),
        autoscaler_(scaling_, span_ns),
        batch_(options.instance.batch.max_batch) {
    outcome_.span_ns = span_ns;
    period_ns_ = std::min(options.report_period_ns, span_ns);
    outcome_.periods.resize(static_cast<std::size_t>((span_ns - 1) / period_ns_ + 1));
  }

  fleet_outcome run(const std::function<bool()>& stop) {
    for (std::size_t i = 0; i < scaling_.first; ++i) launch(0, 0);

    std::size_t handled = 0;
    for (std::int64_t now = 0;;) {
      if (stop && ++handled % stop_interval == 0 && stop()) break;
      now = std::min(arrivals_.due_ns(), autoscaler_.due_ns());
      if (!events_.empty()) now = std::min(now, events_.top().at_ns);
      if (now == never_ns) break;
      if (now > latest_ns) {
        throw invalid_argument(
            "the simulated clock passed 4e18 ns (127 years); lower the rates or service_ns");
      }
      handle(now);
    }
    return finish();
  }

 private:
  void handle(std::int64_t now) {
    while (!events_.empty() && events_.top().at_ns == now) {
      const event next = events_.top();
      events_.pop();
      if (next.kind == event_kind::completion) complete(next, now);
      if (next.kind == event_kind::ready) begin_to_serve(next.instance, now);
      if (next.kind == event_kind::timer) look_again(next.instance);
    }
    if (autoscaler_.due_ns() == now) scale(now);
    for (; arrivals_.due_ns() == now; arrivals_.pop()) {
      autoscaler_.count_arrival();
      route(now, now);
    }
    for (const std::size_t instance : changed_) depart_all(instance, now);
    changed_.clear();
    if (shared_.changed) depart_shared(now);
  }

  // Requests.

  void route(std::int64_t due_ns, std::int64_t now) {
    if (balancer_.empty() || is_shared_) {
      shared_.waiting.push(due_ns);
      shared_.changed = is_shared_;
      check_memory(shared_.waiting.size());
      if (active_.empty()) launch(now, scaling_.start_ns);
      return;
    }
    const std::size_t chosen = balancer_.choose();
    simulated_instance& instance = instances_[chosen];
    instance.queue.waiting.push(due_ns);
    check_memory(instance.queue.waiting.size());
    set_unfinished(chosen, instance.unfinished + 1, now);
    mark_changed(chosen);
  }

  void complete(const event& batch, std::int64_t now) {
    simulated_instance& instance = instances_[batch.instance];
    outcome_.end_ns = now;
    ++instance.free_workers;
    set_unfinished(batch.instance, instance.unfinished - batch.requests, now);
    if (is_shared_) {
      free_.push_back(batch.instance);
      shared_.changed = true;
    } else {
      mark_changed(batch.instance);
    }
    stop_if_finished(batch.instance, now);
  }

  void set_unfinished(std::size_t number, std::size_t requests, std::int64_t now) {
    simulated_instance& instance = instances_[number];
    if (instance.unfinished == 0) instance.busy_since_ns = now;
    instance.unfinished = requests;
    if (requests == 0) instance.record.busy_ns += busy_time(instance, now);
    balancer_.set_requests(number, requests);
  }

  // Only the time before the end of the load counts.
  std::int64_t busy_time(const simulated_instance& instance, std::int64_t now) const noexcept {
    return std::max<std::int64_t>(0, std::min(now, outcome_.span_ns) - instance.busy_since_ns);
  }

  // Departures.

  void depart_all(std::size_t number, std::int64_t now) {
    simulated_instance& instance = instances_[number];
    instance.queue.changed = false;
    while (instance.free_workers > 0 && depart(instance.queue, number, now)) {
    }
  }

  void depart_shared(std::int64_t now) {
    shared_.changed = false;
    while (!free_.empty()) {
      const std::size_t number = free_.back();
      if (instances_[number].serving) {
        const std::size_t before = shared_.waiting.size();
        if (!depart(shared_, number, now)) return;
        set_unfinished(number, instances_[number].unfinished + before - shared_.waiting.size(),
                       now);
      }
      free_.pop_back();
    }
  }

  // A batch of the queue departs on an instance with a free worker. False: none departs now.
  bool depart(queue_state& queue, std::size_t number, std::int64_t now) {
    if (queue.waiting.size() == 0) return false;
    const decision decided = form_batch(options_.instance.batch, queue.waiting, now, batch_.data());
    if (decided.what != decision::kind::dispatch) {
      if (decided.until_ns < queue.timer_ns) {
        queue.timer_ns = decided.until_ns;
        events_.push({decided.until_ns, event_kind::timer, number, 0});
      }
      return false;
    }
    const std::int64_t completed_ns = now + service_time(decided.count);
    for (std::size_t i = 0; i < decided.count; ++i) record(batch_[i].scheduled_ns, completed_ns);
    --instances_[number].free_workers;
    events_.push({completed_ns, event_kind::completion, number, decided.count});
    return true;
  }

  void look_again(std::size_t number) {
    queue_state& queue = is_shared_ ? shared_ : instances_[number].queue;
    queue.timer_ns = never_ns;
    if (is_shared_) {
      shared_.changed = true;
    } else {
      mark_changed(number);
    }
  }

  void mark_changed(std::size_t number) {
    queue_state& queue = instances_[number].queue;
    if (!queue.changed) changed_.push_back(number);
    queue.changed = true;
  }

  std::int64_t service_time(std::size_t requests) {
    const auto& table = options_.instance.service_ns[requests - 1];
    return table.size() == 1 ? table[0] : table[below(service_random_, table.size())];
  }

  void record(std::int64_t due_ns, std::int64_t completed_ns) {
    const std::int64_t latency_ns = completed_ns - due_ns;
    period_record& period = outcome_.periods[static_cast<std::size_t>(due_ns / period_ns_)];
    period.latency.add(latency_ns);
    if (latency_ns > options_.late_after_ns) ++period.late;
    latency_sum_ns_ += static_cast<double>(latency_ns);
  }

  // Instances.

  void launch(std::int64_t now, std::int64_t start_ns) {
    const std::size_t number = instances_.size();
    if (number >= memory_for_instances_) {
      memory_for_instances_ *= 2;
      require_memory(memory_for_instances_, sizeof(simulated_instance),
                     "a simulation of " + std::to_string(memory_for_instances_) + " launches",
                     "raise scale_down_delay_ns");
    }
    instances_.emplace_back();
    instances_.back().record.launched_ns = now;
    active_.push_back(number);
    if (start_ns == 0) {
      begin_to_serve(number, now);
    } else {
      events_.push({now + start_ns, event_kind::ready, number, 0});
    }
  }

  void begin_to_serve(std::size_t number, std::int64_t now) {
    simulated_instance& instance = instances_[number];
    if (instance.record.stopped_ns != never_ns) return;  // it was removed while it started
    instance.record.serving_ns = now;
    instance.serving = true;
    instance.free_workers = options_.instance.workers;
    balancer_.add(number);
    if (is_shared_) {
      free_.insert(free_.end(), options_.instance.workers, number);
      shared_.changed = true;
      return;
    }
    while (shared_.waiting.size() > 0) route(shared_.waiting.pop().scheduled_ns, now);
  }

  // Removes the instance that was launched last, which may still be starting.
  void remove_last(std::int64_t now) {
    const std::size_t number = active_.back();
    active_.pop_back();
    simulated_instance& instance = instances_[number];
    instance.record.removed_ns = now;
    if (!instance.serving) {
      instance.record.stopped_ns = now;
      return;
    }
    instance.serving = false;
    balancer_.remove(number);
    stop_if_finished(number, now);
  }

  void stop_if_finished(std::size_t number, std::int64_t now) {
    simulated_instance& instance = instances_[number];
    const bool removed = instance.record.removed_ns != never_ns;
    if (removed && instance.unfinished == 0 && now < outcome_.span_ns) {
      instance.record.stopped_ns = now;
    }
  }

  void scale(std::int64_t now) {
    const autoscaler::range wanted = autoscaler_.evaluate(shared_.waiting.size() > 0);
    while (active_.size() < wanted.least) launch(now, scaling_.start_ns);
    while (active_.size() > wanted.most) remove_last(now);
  }

  void check_memory(std::size_t waiting) {
    if (waiting < memory_for_) return;
    memory_for_ *= 2;
    require_memory(memory_for_, sizeof(std::int64_t),
                   "a simulation in which " + std::to_string(memory_for_) + " requests wait",
                   "lower the rates or raise most");
  }

  fleet_outcome finish() {
    std::uint64_t served = 0;
    for (const period_record& period : outcome_.periods) served += period.latency.count();
    if (served > 0) outcome_.mean_latency_ns = latency_sum_ns_ / static_cast<double>(served);
    outcome_.instances.reserve(instances_.size());
    for (const simulated_instance& instance : instances_) {
      outcome_.instances.push_back(instance.record);
      instance_record& record = outcome_.instances.back();
      if (record.serving_ns >= outcome_.span_ns) record.serving_ns = never_ns;
    }
    return std::move(outcome_);
  }

  const fleet_options& options_;
  const scaling_options& scaling_;
  const bool is_shared_;
  Arrivals arrivals_;
  generator service_random_;
  balancer balancer_;
  autoscaler autoscaler_;
  std::vector<request> batch_;  // the one that is being formed

  std::vector<simulated_instance> instances_;  // all that were ever launched
  std::vector<std::size_t> active_;            // those that start or serve, by launch
  std::vector<std::size_t> changed_;           // those whose queue has changed at this time
  // Requests that have no instance: all that wait if the queue is shared; else those that came when
  // no instance served.
  queue_state shared_;
  // Shared queue: an entry for each free worker, the one that became free last at the end. Entries
  // of instances that no longer serve are dropped when they are reached.
  std::vector<std::size_t> free_;
  std::priority_queue<event, std::vector<event>, std::greater<>> events_;

  std::int64_t period_ns_ = 0;
  std::size_t memory_for_ = first_memory_check;
  std::size_t memory_for_instances_ = first_memory_check;
  double latency_sum_ns_ = 0;
  fleet_outcome outcome_;
};

}  // namespace

fleet_outcome simulate_fleet(const fleet_load& load, const fleet_options& options,
                             const std::function<bool()>& stop) {
  check(load);
  check(options.instance);
  check(options.scaling, options.instance.workers);
  if (options.late_after_ns < 0) {
    throw invalid_argument("late_after_ns is " + std::to_string(options.late_after_ns) +
                           "; give a time of 0 or more");
  }
  const std::int64_t span_ns = load.steps.back().until_ns;
  if (options.report_period_ns <= 0 || (span_ns - 1) / options.report_period_ns >= most_periods) {
    throw invalid_argument("report_period_ns is " + std::to_string(options.report_period_ns) +
                           "; give at least " + std::to_string(span_ns / most_periods + 1) +
                           ", for at most 10000 periods");
  }
  if (load.due_ns.empty()) {
    return fleet(poisson_arrivals_of_steps(load, options.seed), span_ns, options).run(stop);
  }
  return fleet(scheduled_arrivals(load), span_ns, options).run(stop);
}

}  // namespace gpubench
