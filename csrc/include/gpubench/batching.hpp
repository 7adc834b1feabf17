// The batching rule, written once: which of the waiting requests depart together, and when.
//
// With k the first waiting request, a batch departs at
//     max(worker free, min(due[k + max_batch - 1], due[k] + max_delay))
// and takes every request due by then, up to max_batch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpubench/clock.hpp"
#include "gpubench/request.hpp"

namespace gpubench {

struct batching {
  std::size_t max_batch = 1;      // requests
  std::int64_t max_delay_ns = 0;  // after the first one was due
};

// Throws invalid_argument unless max_batch is at least 1, and max_delay_ns is a time span that is
// zero where max_batch is 1.
void check(const batching& rule);

// What a free worker is told when it asks for requests. Small enough to be returned in registers.
struct answer {
  enum class kind : std::uint8_t {
    dispatch,    // `count` requests were taken and depart now
    wait_until,  // nothing departs before `until_ns`, as far as is known now
    wait,        // nothing is known to come; a completion or a submission may change that
    finished,    // nothing waits and nothing will come
  };
  kind what;
  std::uint32_t count = 0;
  std::int64_t until_ns = never_ns;
};

// Applies the rule to a line of requests in order of their due times. It may hold requests that are
// not due yet: the rule uses them only to tell when to ask again, never to depart earlier or later
// than a server that does not know them.
//
// Line has size(), due_ns(i) for i < size(), and pop(), which removes and returns the first
// request. REQUIRES: the line is not empty; `taken` has room for max_batch requests.
template <class Line>
[[nodiscard]] answer take(const batching& rule, Line& line, std::int64_t now_ns, request* taken) {
  std::int64_t departure_ns = line.due_ns(0) + rule.max_delay_ns;
  if (line.size() >= rule.max_batch) {
    departure_ns = std::min(departure_ns, line.due_ns(rule.max_batch - 1));
  }
  if (now_ns < departure_ns) return {answer::kind::wait_until, 0, departure_ns};

  std::uint32_t count = 0;
  do {
    taken[count++] = line.pop();
  } while (count < rule.max_batch && line.size() > 0 && line.due_ns(0) <= now_ns);
  return {answer::kind::dispatch, count};
}

}  // namespace gpubench
