// The batching rule: which of the waiting requests form a batch, and when the batch departs.
//
// If k is the first waiting request, a batch departs at
//     max(worker free, min(due[k + max_batch - 1], due[k] + max_delay))
// and contains all requests that are due by then, at most max_batch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpubench/clock.hpp"
#include "gpubench/request.hpp"

namespace gpubench {

struct batching {
  std::size_t max_batch = 1;      // requests
  std::int64_t max_delay_ns = 0;  // after the due time of the first request
};

// Throws invalid_argument if max_batch is 0, if max_delay_ns is negative or too long, and if there
// is a delay although max_batch is 1.
void check(const batching& rule);

// A dispatch decision: what a free worker is to do now. Small enough to be returned in registers.
struct decision {
  enum class kind : std::uint8_t {
    dispatch,    // execute the batch of `count` requests that was removed from the queue
    wait_until,  // no batch departs before `until_ns`, as far as is known now
    wait,        // no request is due at a known time; a completion or a submission may add one
    finished,    // no request is waiting, and none will come
  };
  kind what = kind::wait;
  std::uint32_t count = 0;
  std::int64_t until_ns = never_ns;
};

// Applies the rule to a queue of requests in the order of their due times. The queue may contain
// requests that are not due yet. They decide only when the worker looks at the queue again. A batch
// departs when it would depart from a server that does not know future requests.
//
// Queue has size(), due_ns(i) for i < size(), and pop(), which removes and returns the first
// request. REQUIRES: the queue is not empty; `batch` has room for max_batch requests.
template <class Queue>
[[nodiscard]] decision form_batch(const batching& rule, Queue& queue, std::int64_t now_ns,
                                  request* batch) {
  std::int64_t departure_ns = queue.due_ns(0) + rule.max_delay_ns;
  if (queue.size() >= rule.max_batch) {
    departure_ns = std::min(departure_ns, queue.due_ns(rule.max_batch - 1));
  }
  if (now_ns < departure_ns) return {decision::kind::wait_until, 0, departure_ns};

  std::uint32_t count = 0;
  do {
    batch[count++] = queue.pop();
  } while (count < rule.max_batch && queue.size() > 0 && queue.due_ns(0) <= now_ns);
  return {decision::kind::dispatch, count};
}

}  // namespace gpubench
