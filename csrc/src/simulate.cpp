#include "gpubench/simulate.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <string>
#include <utility>

#include "gpubench/clock.hpp"
#include "gpubench/error.hpp"
#include "memory.hpp"
#include "service_times.hpp"
#include "session.hpp"

namespace gpubench {
namespace {

struct simulated_worker {
  std::vector<request> batch;
  batch_record record{};  // of the batch in flight
  std::shared_ptr<timeline> done;
};

// Requests between two calls of the predicate `stop`. Takes well under a millisecond.
constexpr std::size_t stop_interval = 4096;

// The largest time. The sum of it and of all time spans in the options does not overflow.
constexpr std::int64_t latest_ns = 4 * longest_span_ns;

// The timelines grow. From this number of requests on, the free memory is checked at each doubling.
constexpr std::size_t first_memory_check = 1 << 20;

struct completion {
  std::int64_t at_ns;
  std::size_t worker;
  bool operator>(const completion& other) const noexcept {
    return std::pair(at_ns, worker) > std::pair(other.at_ns, other.worker);
  }
};

}  // namespace

outcome simulate(request_source& source, std::size_t executors,
                 const std::vector<std::int64_t>& service_ns, const run_options& options,
                 const std::function<bool()>& stop) {
  check_service_times(service_ns);
  if (executors == 0) {
    throw invalid_argument("executors is 0; give at least 1");
  }
  check(options);
  require_memory(executors, sizeof(simulated_worker) + sizeof(timeline),
                 "executors " + std::to_string(executors), "lower executors");
  require_memory(options.batch.max_batch, executors * sizeof(request),
                 "max_batch " + std::to_string(options.batch.max_batch), "lower max_batch");
  session run(source, options);  // acquires the source, so nobody else holds the mutex
  const auto lock = source.queue().lock();

  std::vector<simulated_worker> workers(executors);
  std::vector<std::size_t> free;  // the last one became free last
  for (std::size_t i = executors; i-- > 0;) {
    workers[i].batch.resize(options.batch.max_batch);
    workers[i].done = std::make_shared<timeline>(
        0, 0, 1, false);  // grows: simulated time does not pass meanwhile
    free.push_back(i);
  }
  std::priority_queue<completion, std::vector<completion>, std::greater<>> in_flight;
  std::size_t next_service = 0;
  std::int64_t now = 0;
  std::size_t since_stop = 0;  // requests
  std::size_t departed = 0;
  std::size_t memory_for = first_memory_check;  // requests
  run.begin(now);

  for (;;) {
    if (stop && since_stop >= stop_interval) {
      since_stop = 0;
      if (stop()) run.end(end_reason::stopped, now);
    }
    if (departed >= memory_for) {
      memory_for *= 2;
      require_memory(memory_for, sizeof(request) + sizeof(batch_record),
                     "a simulation of " + std::to_string(memory_for) + " requests",
                     "lower capacity, or end it earlier");
    }
    std::int64_t next_event = never_ns;
    while (!free.empty()) {
      simulated_worker& worker = workers[free.back()];
      const decision decided = run.next(now, worker.batch.data());
      if (decided.what != decision::kind::dispatch) {
        next_event = decided.until_ns;
        break;
      }
      since_stop += decided.count;
      departed += decided.count;
      worker.record.departed_ns = worker.record.submitted_ns = now;
      worker.record.completed_ns = now + service_ns[next_service];
      worker.record.size = decided.count;
      if (++next_service == service_ns.size()) next_service = 0;
      in_flight.push({worker.record.completed_ns, free.back()});
      free.pop_back();
    }

    if (!in_flight.empty()) next_event = std::min(next_event, in_flight.top().at_ns);
    if (next_event == never_ns) {
      run.end(end_reason::stopped, now);  // has no effect if the run has ended before
      break;
    }
    now = next_event;
    if (now > latest_ns) {
      throw invalid_argument(
          "the simulated clock passed 4e18 ns (127 years); lower service_ns, or set stop_after_ns "
          "or stop_after_completions");
    }
    while (!in_flight.empty() && in_flight.top().at_ns == now) {
      simulated_worker& worker = workers[in_flight.top().worker];
      free.push_back(in_flight.top().worker);
      in_flight.pop();
      worker.done->append(worker.record, worker.batch.data());
      worker.done->publish();
      run.complete(worker.batch.data(), worker.record.size, now);
      worker.record.opened_ns = now;
    }
  }

  outcome result = run.finish();
  for (simulated_worker& worker : workers) result.timelines.push_back(std::move(worker.done));
  return result;
}

}  // namespace gpubench
