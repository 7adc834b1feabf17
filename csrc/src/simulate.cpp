#include "gpubench/simulate.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

#include "gpubench/delay_executor.hpp"
#include "gpubench/error.hpp"
#include "session.hpp"

namespace gpubench {
namespace {

struct simulated_worker {
  std::vector<request> batch;
  batch_record record{};  // of the batch in flight
  std::shared_ptr<timeline> done;
};

struct completion {
  std::int64_t at_ns;
  std::size_t worker;
  bool operator>(const completion& other) const noexcept {
    return std::pair(at_ns, worker) > std::pair(other.at_ns, other.worker);
  }
};

}  // namespace

outcome simulate(request_source& source, std::size_t executors,
                 const std::vector<std::int64_t>& service_ns, const run_options& options) {
  check_service_times(service_ns);
  if (executors == 0) {
    throw invalid_argument("executors is 0; give at least 1");
  }
  const auto lock = source.queue().lock();
  session run(source, options);

  std::vector<simulated_worker> workers(executors);
  std::vector<std::size_t> free;  // the last one became free last
  for (std::size_t i = executors; i-- > 0;) {
    workers[i].batch.resize(options.batch.max_batch);
    workers[i].done = std::make_shared<timeline>(0, 0, 1, false);  // grows: time stands still
    free.push_back(i);
  }
  std::priority_queue<completion, std::vector<completion>, std::greater<>> in_flight;
  std::size_t next_service = 0;
  std::int64_t now = 0;
  run.begin(now);

  for (;;) {
    std::int64_t next_event = never_ns;
    while (!free.empty()) {
      simulated_worker& worker = workers[free.back()];
      const answer told = run.next(now, worker.batch.data());
      if (told.what != answer::kind::dispatch) {
        next_event = told.until_ns;
        break;
      }
      worker.record.departed_ns = worker.record.submitted_ns = now;
      worker.record.completed_ns = now + service_ns[next_service];
      worker.record.size = told.count;
      if (++next_service == service_ns.size()) next_service = 0;
      in_flight.push({worker.record.completed_ns, free.back()});
      free.pop_back();
    }

    if (!in_flight.empty()) next_event = std::min(next_event, in_flight.top().at_ns);
    if (next_event == never_ns) {
      run.end(end_reason::stopped, now);  // unless it has ended for a better reason
      break;
    }
    now = next_event;
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
