#include "gpubench/fleet.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <queue>
#include <string>
#include <tuple>
#include <utility>

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

// The times of a list.
class scheduled_arrivals {
 public:
  explicit scheduled_arrivals(const fleet_load& load) : due_ns_(load.due_ns) {}

  std::int64_t due_ns() const noexcept {
    return next_ < due_ns_.size() ? due_ns_[next_] : never_ns;
  }
  void pop() noexcept { ++next_; }

 private:
  const std::vector<std::int64_t>& due_ns_;
  std::size_t next_ = 0;
};

// A Poisson process whose rate changes from step to step. The integral of the rate between two
// arrivals is exponential with mean 1 (Cinlar, Introduction to Stochastic Processes, 1975, section
// 4.7). Times are generated one by one.
class poisson_arrivals_of_steps {
 public:
  poisson_arrivals_of_steps(const fleet_load& load, std::uint64_t seed)
      : steps_(load.steps), random_(stream(seed, arrivals_stream)) {
    pop();
  }

  std::int64_t due_ns() const noexcept { return due_ns_; }

  void pop() noexcept {
    for (double left = exponential(random_); step_ < steps_.size();) {
      const rate_step& step = steps_[step_];
      const double per_ns = step.per_second * 1e-9;
      const double rest_ns = static_cast<double>(step.until_ns - begin_ns_) - within_ns_;
      if (left < per_ns * rest_ns) {
        within_ns_ += left / per_ns;
        due_ns_ = std::min(begin_ns_ + static_cast<std::int64_t>(within_ns_), step.until_ns - 1);
        return;
      }
      left -= per_ns * rest_ns;
      begin_ns_ = step.until_ns;
      within_ns_ = 0;
      ++step_;
    }
    due_ns_ = never_ns;
  }

 private:
  const std::vector<rate_step>& steps_;
  generator random_;
  std::size_t step_ = 0;
  std::int64_t begin_ns_ = 0;  // of the step; a double could not hold late times to the nanosecond
  double within_ns_ = 0;       // since then
  std::int64_t due_ns_ = never_ns;
};

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

// The instances that serve, in groups with the same number of unfinished requests.
class balancer {
 public:
  balancer(balancing_rule rule, std::uint64_t seed)
      : by_requests_(rule == balancing_rule::least_requests),
        random_(stream(seed, balancing_stream)) {}

  bool empty() const noexcept { return size_ == 0; }

  void add(std::size_t instance) {
    if (places_.size() <= instance) places_.resize(instance + 1);
    insert(instance, 0);
    ++size_;
  }

  void remove(std::size_t instance) {
    erase(instance);
    places_[instance].serves = false;
    --size_;
  }

  // An instance that does not serve is ignored.
  void set_requests(std::size_t instance, std::size_t requests) {
    if (!by_requests_ || instance >= places_.size() || !places_[instance].serves) return;
    erase(instance);
    insert(instance, requests);
  }

  // REQUIRES: an instance serves.
  std::size_t choose() {
    while (groups_[least_].empty()) ++least_;
    const auto& group = groups_[least_];
    return group.size() == 1 ? group[0] : group[below(random_, group.size())];
  }

 private:
  struct place {
    std::size_t group = 0;
    std::size_t index = 0;
    bool serves = false;
  };

  void insert(std::size_t instance, std::size_t group) {
    if (groups_.size() <= group) groups_.resize(group + 1);
    places_[instance] = {group, groups_[group].size(), true};
    groups_[group].push_back(instance);
    least_ = std::min(least_, group);
  }

  void erase(std::size_t instance) {
    const place from = places_[instance];
    auto& group = groups_[from.group];
    group[from.index] = group.back();
    places_[group[from.index]].index = from.index;
    group.pop_back();
  }

  const bool by_requests_;
  generator random_;
  std::vector<std::vector<std::size_t>> groups_;  // by the number of unfinished requests
  std::vector<place> places_;                     // by instance
  std::size_t least_ = 0;                         // no group before it has an instance
  std::size_t size_ = 0;
};

// The largest number of instances that was desired in the last `window_ns`.
class recent_maximum {
 public:
  explicit recent_maximum(std::int64_t window_ns) : window_ns_(window_ns) {}

  void add(std::int64_t at_ns, std::size_t desired) {
    while (!entries_.empty() && entries_.back().second <= desired) entries_.pop_back();
    entries_.emplace_back(at_ns, desired);
    while (entries_.front().first < at_ns - window_ns_) entries_.pop_front();
  }
  std::size_t value() const noexcept { return entries_.front().second; }

 private:
  const std::int64_t window_ns_;
  std::deque<std::pair<std::int64_t, std::size_t>> entries_;  // falling
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
        desired_(scaling_.scale_down_delay_ns),
        batch_(options.instance.batch.max_batch) {
    outcome_.span_ns = span_ns;
    period_ns_ = std::min(options.report_period_ns, span_ns);
    outcome_.periods.resize(static_cast<std::size_t>((span_ns - 1) / period_ns_ + 1));
  }

  fleet_outcome run(const std::function<bool()>& stop) {
    for (std::size_t i = 0; i < scaling_.first; ++i) launch(0, 0);
    desired_.add(0, scaling_.first);
    if (scaling_.least < scaling_.most) schedule_evaluation();

    std::size_t handled = 0;
    for (std::int64_t now = 0;;) {
      if (stop && ++handled % stop_interval == 0 && stop()) break;
      now = std::min(arrivals_.due_ns(), next_evaluation_ns_);
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
    if (next_evaluation_ns_ == now) evaluate(now);
    for (; arrivals_.due_ns() == now; arrivals_.pop()) {
      ++arrived_;
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

  // The autoscaler.

  void evaluate(std::int64_t now) {
    const double seconds = static_cast<double>(scaling_.period_ns) * 1e-9;
    const double wanted = static_cast<double>(arrived_) / seconds / scaling_.target_per_second;
    arrived_ = 0;
    // An exact multiple of the target must not be rounded up because of the last bit.
    const double whole = std::ceil(wanted * (1 - 1e-12));
    std::size_t desired = scaling_.most;
    if (whole < static_cast<double>(scaling_.most)) desired = static_cast<std::size_t>(whole);
    desired = std::max(desired, scaling_.least);
    if (shared_.waiting.size() > 0) desired = std::max<std::size_t>(desired, 1);
    desired_.add(now, desired);
    while (active_.size() < desired) launch(now, scaling_.start_ns);
    while (active_.size() > desired_.value()) remove_last(now);
    schedule_evaluation();
  }

  // The autoscaler ends with the load.
  void schedule_evaluation() {
    evaluated_ns_ += scaling_.period_ns;
    next_evaluation_ns_ = evaluated_ns_ < outcome_.span_ns ? evaluated_ns_ : never_ns;
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
  recent_maximum desired_;
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

  std::uint64_t arrived_ = 0;  // requests since the last evaluation
  std::int64_t evaluated_ns_ = 0;
  std::int64_t next_evaluation_ns_ = never_ns;
  std::int64_t period_ns_ = 0;
  std::size_t memory_for_ = first_memory_check;
  std::size_t memory_for_instances_ = first_memory_check;
  double latency_sum_ns_ = 0;
  fleet_outcome outcome_;
};

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
